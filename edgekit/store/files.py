"""Files that are whole or absent: written beside their place, flushed to disk, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import StoreError

CHUNK_BYTES = 1 << 20
SUM_BYTES = 8 << 20
"""Large, since after each of these the sum waits for its turn among the threads."""


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turns what the file system says while `where` is written into one line.

    Raises: StoreError.
    """
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{where}: cannot be written ({reason}): make room or set EDGEKIT_HOME elsewhere") from None


def sha256_of(path: Path) -> str:
    """The sha256, in hex, of a file's bytes. Raises: OSError."""
    total, chunk = hashlib.sha256(), memoryview(bytearray(SUM_BYTES))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(chunk):
            total.update(chunk[:size])
    return total.hexdigest()


def sync(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to disk. Raises: OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes) -> None:
    """Writes `content` at `path`: afterwards, and after a power cut, the old file or the new one is there.

    Raises: StoreError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def copy_flushed(source: Path, target: Path) -> str:
    """Copies a file and flushes the copy to disk; its sha256 as it was read. Raises: OSError."""
    total = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as old, target.open("xb") as new:
        while chunk := old.read(CHUNK_BYTES):
            total.update(chunk)
            new.write(chunk)
        new.flush()
        os.fsync(new.fileno())
    return total.hexdigest()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below `folder`; what vanishes meanwhile counts as nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def remove_tree(folder: Path) -> int:
    """Removes `folder` whole, its name first, so that a half-removed one is never seen; the bytes freed.

    Raises: StoreError.
    """
    if not folder.exists():
        return 0
    freed = folder_bytes(folder)
    doomed = folder.with_name(f".{folder.name}.{os.getpid()}.gone")
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be removed ({error.strerror or error})") from None
    return freed
