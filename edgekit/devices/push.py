"""Files on a device: candidates for measuring, and models installed for use. Old or new, never neither.

<root>/bench/<id>/                      candidates, by content; `collect` empties it
<root>/models/<name>/versions/<n>-<artifact>/, with .built/model.engine where the device built one of it
<root>/models/<name>/current            a link to the active version: what a program there loads
<root>/incoming/                        what is not whole yet
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.release import Deployment
from edgekit.devices.parcel import Parcel, parcel
from edgekit.devices.scripts import answered, ask, transfer_s
from edgekit.devices.send import Sent, bring
from edgekit.devices.transport import OnBytes, Transport
from edgekit.devices.ways import FindFile
from edgekit.errors import ArtifactError, DeviceError, UsageError

KEEP = 2
_SLOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{6,}-([0-9a-f]{64})")


def stage(
    transport: Transport,
    device: Device,
    files: Mapping[str, Path],
    *,
    find_file: FindFile | None = None,
    on_bytes: OnBytes | None = None,
) -> str:
    """The folder of the device with these files, by their paths in it, whole; sent only if it is not there already.

    Raises: as `send.bring`.
    """
    return bring(transport, device, parcel(files), "bench", find_file=find_file, on_bytes=on_bytes).folder


def install(
    transport: Transport,
    device: Device,
    artifact: Artifact,
    folder: Path,
    *,
    name: str | None = None,
    keep: int = KEEP,
    engine: str = "",
    find_file: FindFile | None = None,
    on_bytes: OnBytes | None = None,
    on_sent: Callable[[Sent], None] = lambda sent: None,
) -> Deployment:
    """Makes `artifact` (its files in `folder`) the active version of the model `name`, by default the artifact's own.

    Until the last step, and if anything goes wrong, the version that was active is. `keep` others are kept. `engine` is
    what the device built of it, a path below its root, which is beside the model when that is active. Where the
    device holds a file that `find_file` finds here, only what changed is sent. `on_sent` hears what sending took.

    Raises: as `stage`; ArtifactError if the files are not those of the artifact.
    """
    slot = _slot(name or artifact.name)
    sent = parcel({entry.path: folder / entry.path for entry in artifact.files})
    promised = "".join(sorted(f"{entry.sha256} {entry.path}\n" for entry in artifact.files))
    if sorted(sent.manifest.decode().splitlines()) != sorted(promised.splitlines()):
        raise ArtifactError(f"{folder}: its files are not those of artifact {artifact.id[:12]}: the store is damaged")
    found = _switch(transport, device, slot, "", sent, artifact, keep, engine)
    if not answered(found, "current", transport):
        on_sent(bring(transport, device, sent, "bench", find_file=find_file, on_bytes=on_bytes))
        found = _switch(transport, device, slot, f"bench/{sent.id}", sent, artifact, keep, engine)
    return _deployment(transport, device, slot, found)


def active(transport: Transport, device: Device, name: str) -> Deployment | None:
    """What is installed under `name`; None if nothing is.

    Raises: DeviceError if the device's answer is no answer; as `Transport.run`.
    """
    found = ask(transport, "active", (device.root, _slot(name)), doing=f"looking for {name}")
    return _deployment(transport, device, name, found) if answered(found, "current", transport) else None


def drop(transport: Transport, device: Device, folders: Iterable[str]) -> None:
    """Removes what `stage` put into these folders, to make room for the next. Raises: as `Transport.run`."""
    ids = [PurePosixPath(folder).name for folder in folders]
    if ids:
        ask(transport, "drop", (device.root, *ids), doing="removing candidates")


def collect(transport: Transport, device: Device) -> None:
    """Empties bench/ and removes what broken transfers left; versions stay. Raises: as `Transport.run`."""
    ask(transport, "collect", (device.root,), doing="collecting candidates")


@contextmanager
def collecting(transport: Transport, device: Device) -> Iterator[None]:
    """Leaves bench/ empty behind the block, also where the block fails and the device can still be asked.

    Raises: as `collect`, where nothing else went wrong.
    """
    try:
        yield
    except BaseException:
        with suppress(DeviceError):
            collect(transport, device)
        raise
    collect(transport, device)


def purge(transport: Transport, device: Device) -> None:
    """Removes all that edgekit has on the device, installed models too.

    Raises: DeviceError if the root is not a folder that edgekit made; as `Transport.run`.
    """
    ask(transport, "purge", (device.root,), doing="removing edgekit's files", timeout_s=300)


def _switch(
    transport: Transport, device: Device, slot: str, source: str, sent: Parcel, artifact: Artifact, keep: int,
    engine: str,
) -> dict[str, str]:  # fmt: skip
    arguments = (device.root, slot, source, sent.id, artifact.id, str(keep), engine)
    return ask(transport, "install", arguments, doing=f"installing {slot}", timeout_s=transfer_s(sent.room_bytes))


def _slot(name: str) -> str:
    if not _SLOT.fullmatch(name):
        raise UsageError(f"model name {name!r}: want letters, digits, '.', '_' or '-', 64 at most")
    return name


def _deployment(transport: Transport, device: Device, name: str, found: dict[str, str]) -> Deployment:
    version, previous = answered(found, "current", transport), answered(found, "previous", transport)
    match = _VERSION.fullmatch(version)
    if match is None:
        raise DeviceError(
            f"{transport.name}: the active version of {name} is {version[:80]!a}, which edgekit never made"
        )
    return Deployment(
        device=device.name, name=name, artifact=match[1], version=version, active=True, previous=previous or None
    )
