"""`edgekit profile`: one artifact, or one model file, on a device by itself."""

from typing import Annotated

import typer

from edgekit.cli.bench import Threads
from edgekit.cli.options import Debug, DeviceName, Json, Wait, wait_seconds
from edgekit.cli.output import say_lines, show_json
from edgekit.cli.progress import shown
from edgekit.cli.words import profile_lines
from edgekit.devices.inventory import get_device
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

ArtifactName = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="An artifact's id or its first letters, its folder, or a model file.")
]
Sustain = Annotated[
    float,
    typer.Option("--sustain", min=0.0, max=3600.0, metavar="SECONDS", help="Call it so long without a pause; 0: not."),
]


def command(
    artifact: ArtifactName,
    *,
    device: DeviceName = "local",
    threads: Threads = 1,
    sustain: Sustain = 60.0,
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Cold and steady times with their intervals, memory, where the time goes, and what is left of it when warm."""
    wait_s = wait_seconds(wait)
    store, machine = ArtifactStore(artifacts_folder()), get_device(device)
    from edgekit.pipeline.alone import profile
    from edgekit.pipeline.named import artifact_named

    named = artifact_named(artifact, machine, store)
    with shown() as listener:
        found = profile(named, machine, store, threads=threads, sustain_s=sustain, wait_s=wait_s, listen=listener)
    if json:
        show_json(found)
    else:
        say_lines(profile_lines(found))
