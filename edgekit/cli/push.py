"""`edgekit push`: installs an artifact on a device."""

from typing import Annotated

import typer

from edgekit.cli.options import Debug, DeviceName, Json, Wait, wait_seconds
from edgekit.cli.output import say, say_lines, show_json, size
from edgekit.cli.progress import shown
from edgekit.cli.words import engine_words, tried_words
from edgekit.devices.inventory import get_device
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder, ledger_url
from edgekit.store.ledger import Ledger

ArtifactName = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT",
        help="An id, a unique beginning of one, name@beginning, an artifact's folder, or a model file.",
    ),
]
Slot = Annotated[str | None, typer.Option("--name", help="The name it is installed under; default: the artifact's.")]


def command(
    artifact: ArtifactName,
    *,
    device: DeviceName,
    name: Slot = None,
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """It is verified here, its bytes are checked there, and only then it takes the place of the version before."""
    wait_s = wait_seconds(wait)
    store = ArtifactStore(artifacts_folder())
    machine = get_device(device)
    from edgekit.pipeline.named import artifact_named
    from edgekit.pipeline.push import push

    found = artifact_named(artifact, machine, store)

    with Ledger(ledger_url()) as ledger, shown() as listener:
        pushed = push(found, machine, store, ledger, name=name, listen=listener, wait_s=wait_s)
    if json:
        show_json(pushed)
        return
    deployment = pushed.deployment
    verb = "was active already" if pushed.was_there else "is active"
    before = f"; before: {deployment.previous}" if deployment.previous else ""
    say(f"{device}: {deployment.name} {deployment.version} {verb}{before}")
    if pushed.engine is not None:
        say(engine_words(pushed.engine))
        say_lines(f"  note: {warning}" for warning in pushed.engine.warnings)
    if pushed.tried is not None:
        say(tried_words(pushed.tried))
    if pushed.size_bytes:
        say(f"sent {size(pushed.sent_bytes)} for files of {size(pushed.size_bytes)}")
