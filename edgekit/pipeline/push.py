"""One artifact onto one device: checked here, installed there, written down."""

import msgspec

from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.firmware import mismatches
from edgekit.core.noun import Noun
from edgekit.core.release import Deployment
from edgekit.devices.facts import gather
from edgekit.devices.push import active, install
from edgekit.devices.push import purge as purge_device
from edgekit.errors import TargetError
from edgekit.formats.verify import Verdict, verify
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.held import held
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger


class Pushed(Noun, frozen=True, kw_only=True):
    """What is active now on a device, and what verifying it on the host said; `was_there` if nothing had to change."""

    deployment: Deployment
    verdict: Verdict
    was_there: bool


def push(
    artifact: Artifact, device: Device, store: ArtifactStore, ledger: Ledger, *,
    name: str | None = None, listen: Listener = silent, wait_s: float = 0.0,
) -> Pushed:  # fmt: skip
    """Makes an artifact of the store the active version of the model `name` on a device, by default its own name.

    It is verified on the host before anything is sent; until the last step the version that was active there is.

    Raises: ArtifactError, TargetError if the device lacks what the artifact requires, LeaseError if somebody else
    has it for longer than `wait_s`, StorageError, DeviceError, UnreachableError, StoreError.
    """
    folder = store.folder(artifact)
    listen(Event(stage="compile", text=f"verifying {artifact.id[:12]} on this computer"))
    verdict = verify(artifact, folder)
    with held(device, f"push {artifact.name}", wait_s=wait_s, listen=listen) as transport:
        if wrong := mismatches(artifact.requires, gather(transport, device).provides()):
            raise TargetError(f"{device.name}: cannot run {artifact.id[:12]} ({artifact.target}): {'; '.join(wrong)}")
        before = active(transport, device, name or artifact.name)
        listen(Event(stage="install", text=f"installing {artifact.id[:12]} on {device.name}"))
        deployment = install(transport, device, artifact, folder, name=name)
    was_there = before is not None and msgspec.structs.replace(before, previous=deployment.previous) == deployment
    if not was_there or deployment not in ledger.deployments(device.name):
        ledger.add_deployment(deployment)
    return Pushed(deployment=deployment, verdict=verdict, was_there=was_there)


def purge(device: Device, ledger: Ledger, *, wait_s: float = 0.0, listen: Listener = silent) -> None:
    """Leaves nothing of edgekit on a device, and writes down that what was deployed there is gone.

    Raises: LeaseError, DeviceError, UnreachableError: then nothing is written down; StoreError.
    """
    with held(device, "purge", wait_s=wait_s, listen=listen) as transport:
        purge_device(transport, device)
    for deployment in ledger.deployments(device.name):
        ledger.add_deployment(deployment, "removed")
