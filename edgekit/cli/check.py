"""`edgekit check`: whether an artifact computes what was scored, layer by layer."""

from typing import Annotated

import typer

from edgekit.cli.options import Debug, Json
from edgekit.cli.output import say_lines, show_json
from edgekit.cli.progress import shown
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

ArtifactName = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT",
        help="An id, a unique beginning of one, name@beginning, an artifact's folder, or a model file.",
    ),
]


def command(artifact: ArtifactName, *, json: Json = False, debug: Debug = False) -> None:
    """Each layer beside the host's own program; exit 1 if one is wrong, and the first that is gets named."""
    store = ArtifactStore(artifacts_folder())
    from edgekit.cli.layers import check_lines
    from edgekit.pipeline.check import check

    with shown() as listener:
        found = check(artifact, store, listen=listener)
    if json:
        show_json(found)
    else:
        say_lines(check_lines(found))
    raise typer.Exit(0 if found.is_right else 1)
