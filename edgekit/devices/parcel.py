"""Files that are sent together, by their content."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from edgekit.errors import ArtifactError, UsageError
from edgekit.store.files import sha256_of

if TYPE_CHECKING:
    import tarfile

BLOCK_BYTES = 4096
SPARE_BYTES = 1 << 20


@dataclass(frozen=True)
class Parcel:
    """Files to send together; `id` is the sha256 of the manifest, one line "sha256 path" a file."""

    files: Mapping[str, Path]
    sums: Mapping[str, str]

    @property
    def manifest(self) -> bytes:
        """One line a file: its sha256 and its path."""
        return "".join(f"{sha256} {name}\n" for name, sha256 in sorted(self.sums.items())).encode()

    @property
    def id(self) -> str:
        """Equal content has one id."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def room_bytes(self) -> int:
        """What it takes on a disk, blocks and folders counted."""
        sizes = (path.stat().st_size for path in self.files.values())
        return SPARE_BYTES + sum(BLOCK_BYTES * (size // BLOCK_BYTES + 2) for size in sizes)


def parcel(files: Mapping[str, Path]) -> Parcel:
    """The parcel of these files, by their paths in the folder that they will be in.

    Raises: UsageError for a path that leaves the folder or cannot be written down; ArtifactError for a missing file.
    """
    for name in files:
        parts = PurePosixPath(name).parts
        if not name or not name.isprintable() or name != "/".join(parts) or {"..", "/"} & set(parts):
            raise UsageError(f"file {name!r}: want a plain relative path with forward slashes")
        if parts[0] in OURS or parts[0].startswith((".recipe", ".sent")):
            raise UsageError(f"file {name!r}: this name is edgekit's own")
        if name != name.strip() or not all(part.strip() for part in parts):
            raise UsageError(f"file {name!r}: may not begin or end with a space")
    try:
        return Parcel(dict(files), {name: sha256_of(path) for name, path in files.items()})
    except OSError as error:
        raise ArtifactError(f"{error.filename}: cannot be read ({error.strerror})") from None


OURS = frozenset({".manifest", ".patch.py"})
"""What is beside the files while a parcel is unpacked."""


def write_tar(file: BinaryIO, entries: Mapping[str, bytes | Path]) -> None:
    """A tar of these, the same bytes for the same content."""
    import tarfile

    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in sorted(entries.items()):
            if isinstance(content, bytes):
                _add(tar, name, io.BytesIO(content), len(content))
                continue
            with content.open("rb") as source:
                _add(tar, name, source, content.stat().st_size)


def _add(tar: "tarfile.TarFile", name: str, source: BinaryIO, size: int) -> None:
    entry = tar.tarinfo(f"./{name}")
    entry.size, entry.mode = size, 0o644
    tar.addfile(entry, source)
