"""Files on a device: candidates for measuring, and models installed for use. Old or new, never neither.

<root>/bench/<id>/                      candidates, by content; `collect` empties it
<root>/models/<name>/versions/<n>-<artifact>/
<root>/models/<name>/current            a link to the active version: what a program there loads
<root>/incoming/                        what is not whole yet
"""

import hashlib
import io
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.release import Deployment
from edgekit.devices.parsers import parse_df
from edgekit.devices.scripts import answered, ask, transfer_s
from edgekit.devices.transport import OnBytes, Transport
from edgekit.errors import ArtifactError, DeviceError, StorageError, UsageError
from edgekit.store.files import sha256_of

KEEP = 2
BLOCK_BYTES = 4096
SPARE_BYTES = 1 << 20
_SLOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{6,}-([0-9a-f]{64})")


@dataclass(frozen=True)
class Parcel:
    """Files to send together; `id` is the sha256 of the manifest, one line "sha256 path" a file."""

    files: Mapping[str, Path]
    manifest: bytes

    @property
    def id(self) -> str:
        """Equal content has one id."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def room_bytes(self) -> int:
        """What it takes on a disk, blocks and folders counted."""
        sizes = (path.stat().st_size for path in self.files.values())
        return SPARE_BYTES + sum(BLOCK_BYTES * (size // BLOCK_BYTES + 2) for size in sizes)

    @contextmanager
    def archive(self) -> Iterator[tuple[BinaryIO, int]]:
        """A tar of the manifest and the files, the same bytes for the same content; and its size."""
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
                _add(tar, ".manifest", io.BytesIO(self.manifest), len(self.manifest))
                for name, path in sorted(self.files.items()):
                    with path.open("rb") as source:
                        _add(tar, name, source, path.stat().st_size)
            size = file.tell()
            file.seek(0)
            yield cast(BinaryIO, file), size


def _add(tar: tarfile.TarFile, name: str, source: BinaryIO, size: int) -> None:
    entry = tarfile.TarInfo(f"./{name}")
    entry.size, entry.mode = size, 0o644
    tar.addfile(entry, source)


def parcel(files: Mapping[str, Path]) -> Parcel:
    """The parcel of these files, by their paths in the folder that they will be in.

    Raises: UsageError for a path that leaves the folder or cannot be written down; ArtifactError for a missing file.
    """
    for name in files:
        parts = PurePosixPath(name).parts
        if not name or not name.isprintable() or name != "/".join(parts) or {"..", "/", ".manifest"} & set(parts):
            raise UsageError(f"file {name!r}: want a plain relative path with forward slashes")
        if name != name.strip() or not all(part.strip() for part in parts):
            raise UsageError(f"file {name!r}: may not begin or end with a space")
    try:
        lines = [f"{sha256_of(path)} {name}\n" for name, path in sorted(files.items())]
    except OSError as error:
        raise ArtifactError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return Parcel(dict(files), "".join(lines).encode())


def stage(transport: Transport, device: Device, files: Mapping[str, Path], *, on_bytes: OnBytes | None = None) -> str:
    """The folder of the device with these files, by their paths in it, whole; sent only if it is not there already.

    Raises: StorageError before the first byte if there is no room, or with the device's own words; DeviceError if what
    arrived is not what was sent; as `Transport.run`.
    """
    return _bring(transport, device, parcel(files), "bench", on_bytes)


def install(
    transport: Transport,
    device: Device,
    artifact: Artifact,
    folder: Path,
    *,
    name: str | None = None,
    keep: int = KEEP,
    on_bytes: OnBytes | None = None,
) -> Deployment:
    """Makes `artifact` (its files in `folder`) the active version of the model `name`, by default the artifact's own.

    Until the last step, and if anything goes wrong, the version that was active is. `keep` others are kept.

    Raises: as `stage`; ArtifactError if the files are not those of the artifact.
    """
    slot = _slot(name or artifact.name)
    sent = parcel({entry.path: folder / entry.path for entry in artifact.files})
    promised = "".join(sorted(f"{entry.sha256} {entry.path}\n" for entry in artifact.files))
    if sorted(sent.manifest.decode().splitlines()) != sorted(promised.splitlines()):
        raise ArtifactError(f"{folder}: its files are not those of artifact {artifact.id[:12]}: the store is damaged")
    found = _switch(transport, device, slot, "", sent, artifact, keep)
    if not answered(found, "current", transport):
        _bring(transport, device, sent, "bench", on_bytes)
        found = _switch(transport, device, slot, f"bench/{sent.id}", sent, artifact, keep)
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


def bring(transport: Transport, device: Device, files: Mapping[str, Path], kind: str) -> str:
    """As `stage`, in <root>/`kind`/ instead of bench/."""
    return _bring(transport, device, parcel(files), kind, None)


def check_free(transport: Transport, device: Device, needed_bytes: int, free_bytes: int) -> None:
    """Returns if the device has room. Raises: StorageError."""
    if free_bytes < needed_bytes:
        raise StorageError(
            f"{transport.name}: no room in {device.root}: {needed_bytes:,} bytes wanted, {free_bytes:,} free; "
            "nothing was sent"
        )


def free_bytes(transport: Transport, device: Device) -> int:
    """Free bytes on the disk of the device's root. Raises: DeviceError; as `Transport.run`."""
    return _room(transport, ask(transport, "probe", (device.root, "incoming", ""), doing="looking for room"))


def _switch(
    transport: Transport, device: Device, slot: str, source: str, sent: Parcel, artifact: Artifact, keep: int
) -> dict[str, str]:
    arguments = (device.root, slot, source, sent.id, artifact.id, str(keep))
    return ask(transport, "install", arguments, doing=f"installing {slot}", timeout_s=transfer_s(sent.room_bytes))


def _bring(transport: Transport, device: Device, sent: Parcel, kind: str, on_bytes: OnBytes | None) -> str:
    there, free = _probe(transport, device, sent, kind)
    if not there:
        check_free(transport, device, sent.room_bytes, free)
        with sent.archive() as (file, size):
            ask(
                transport, "receive", (device.root, kind, sent.id), doing="sending files",
                stdin=file, timeout_s=transfer_s(size), on_bytes=on_bytes,
            )  # fmt: skip
    return f"{device.root}/{kind}/{sent.id}"


def _probe(transport: Transport, device: Device, sent: Parcel, kind: str) -> tuple[bool, int]:
    """Is it there, whole; and the bytes that are free."""
    arguments = (device.root, f"{kind}/{sent.id}", sent.id)
    found = ask(transport, "probe", arguments, doing="looking for files", timeout_s=transfer_s(sent.room_bytes))
    return answered(found, "there", transport) == "yes", _room(transport, found)


def _room(transport: Transport, found: dict[str, str]) -> int:
    free = parse_df(answered(found, "room", transport))
    if free is None:
        raise DeviceError(f"{transport.name}: df gives no free room that can be read")
    return free


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
