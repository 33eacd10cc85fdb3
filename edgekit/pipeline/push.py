"""One artifact onto one device: checked here, installed there, written down."""

import time

import msgspec

from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.firmware import mismatches
from edgekit.core.noun import Noun
from edgekit.core.release import Deployment
from edgekit.devices.facts import gather
from edgekit.devices.push import active, install
from edgekit.devices.push import purge as purge_device
from edgekit.devices.send import Sent
from edgekit.devices.transport import OnBytes
from edgekit.errors import TargetError
from edgekit.formats.verify import Verdict, verify
from edgekit.pipeline.engine import OnDevice, engine_of
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.held import held
from edgekit.pipeline.tried import Tried, tried_of
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger

SAY_S = 2.0


class Pushed(Noun, frozen=True, kw_only=True):
    """What is active now on a device, and what verifying it on the host said; `was_there` if nothing had to change.

    `sent_bytes` went over the link for files of `size_bytes`: less where only changes had to go. `engine` is what the
    device built of it and uses; `tried` how it did there before it was active, where a vendor's program runs it.
    """

    deployment: Deployment
    verdict: Verdict
    was_there: bool
    engine: OnDevice | None = None
    tried: Tried | None = None
    sent_bytes: int = 0
    size_bytes: int = 0


def push(
    artifact: Artifact, device: Device, store: ArtifactStore, ledger: Ledger, *,
    name: str | None = None, listen: Listener = silent, wait_s: float = 0.0,
) -> Pushed:  # fmt: skip
    """Makes an artifact of the store the active version of the model `name` on a device, by default its own name.

    It is verified on the host before anything is sent; until the last step the version that was active there is.

    Raises: ArtifactError, also if it computes something else there than here; TargetError if the device lacks what the
    artifact requires; ConvertError if it builds no engine of it; MeasureError if its program refuses it; LeaseError if
    somebody else has it for longer than `wait_s`; StorageError, DeviceError, UnreachableError, StoreError.
    """
    folder = store.folder(artifact)
    listen(Event(stage="compile", text=f"verifying {artifact.id[:12]} on this computer"))
    verdict = verify(artifact, folder)
    with held(device, f"push {artifact.name}", wait_s=wait_s, listen=listen) as transport:
        facts = gather(transport, device)
        if wrong := mismatches(artifact.requires, facts.provides()):
            raise TargetError(f"{device.name}: cannot run {artifact.id[:12]} ({artifact.target}): {'; '.join(wrong)}")
        before = active(transport, device, name or artifact.name)
        listen(Event(stage="install", text=f"installing {artifact.id[:12]} on {device.name}"))
        sent: list[Sent] = []
        on_bytes = _progress(device.name, listen)
        engine = engine_of(
            transport, device, facts, artifact, store, listen=listen, on_sent=sent.append, on_bytes=on_bytes
        )
        tried = tried_of(
            transport, device, facts, artifact, store, listen=listen, on_sent=sent.append, on_bytes=on_bytes
        )
        deployment = install(
            transport, device, artifact, folder, name=name, engine=engine.path if engine else "",
            find_file=store.file_finder(), on_sent=sent.append, on_bytes=on_bytes,
        )  # fmt: skip
    was_there = before is not None and msgspec.structs.replace(before, previous=deployment.previous) == deployment
    if not was_there or deployment not in ledger.deployments(device.name):
        ledger.add_deployment(deployment)
    return Pushed(
        deployment=deployment, verdict=verdict, was_there=was_there, engine=engine, tried=tried,
        sent_bytes=sum(s.sent_bytes for s in sent), size_bytes=max((s.size_bytes for s in sent), default=0),
    )  # fmt: skip


def _progress(name: str, listen: Listener) -> OnBytes:
    """Says how much was sent, every other second."""
    sent, said_s = 0, time.monotonic()

    def add(size: int) -> None:
        nonlocal sent, said_s
        sent += size
        if time.monotonic() - said_s > SAY_S:
            said_s = time.monotonic()
            listen(Event(stage="install", text=f"sending to {name}: {sent / 1e6:.1f} MB"))

    return add


def purge(device: Device, ledger: Ledger, *, wait_s: float = 0.0, listen: Listener = silent) -> None:
    """Leaves nothing of edgekit on a device, and writes down that what was deployed there is gone.

    Raises: LeaseError, DeviceError, UnreachableError: then nothing is written down; StoreError.
    """
    with held(device, "purge", wait_s=wait_s, listen=listen) as transport:
        purge_device(transport, device)
    for deployment in ledger.deployments(device.name):
        ledger.add_deployment(deployment, "removed")
