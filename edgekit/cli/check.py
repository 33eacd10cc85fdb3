"""`edgekit check`: whether an artifact computes what was scored, layer by layer."""

from typing import Annotated

import typer

from edgekit.cli.options import Debug, Json, Wait, wait_seconds
from edgekit.cli.output import say_lines, show_json
from edgekit.cli.progress import shown
from edgekit.devices.inventory import get_device
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

ArtifactName = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT",
        help="An id, a unique beginning of one, name@beginning, an artifact's folder, or a model file.",
    ),
]


DeviceName = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="Also run it on this device of `edgekit devices list`."),
]


def command(
    artifact: ArtifactName, *, device: DeviceName = None, wait: Wait = None, json: Json = False, debug: Debug = False
) -> None:
    """Each layer beside the host's own program; exit 1 if one is wrong, and the first that is gets named."""
    wait_s = wait_seconds(wait)
    machine = get_device(device) if device else None
    store = ArtifactStore(artifacts_folder())
    from edgekit.cli.layers import check_lines
    from edgekit.pipeline.check import check

    with shown() as listener:
        found = check(artifact, store, machine, wait_s=wait_s, listen=listener)
    if json:
        show_json(found)
    else:
        say_lines(check_lines(found))
    raise typer.Exit(0 if found.is_right else 1)
