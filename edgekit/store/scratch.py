"""Folders for work in progress: gone with the work, and where the process was killed, with the next one's."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import ArtifactError, ConvertError, EdgekitError, StoreError

PREFIX = "edgekit-scratch-"
OWNER = ".owner"
"""Locked for as long as the owner of the folder lives. Only a folder with this file in it is ever removed."""
LITTLE_BYTES = 1 << 20


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder of this process's own, where the system keeps temporary files; removed when it is left.

    Raises: StoreError, if it cannot be made, and in place of what failed in it for want of room.
    """
    where = Path(tempfile.gettempdir())
    _sweep(where)
    try:
        new = Path(tempfile.mkdtemp(prefix=".edgekit-"))
        owner = (new / OWNER).open("wb")
    except OSError as error:
        raise _unwritable(where, error) from None
    with owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        folder = new.rename(new.with_name(new.name.replace(".edgekit-", PREFIX, 1)))
        try:
            yield folder
        except (OSError, ConvertError, ArtifactError) as error:
            told = isinstance(error, EdgekitError) and not isinstance(error, (ConvertError, ArtifactError))
            if told or shutil.disk_usage(folder).free >= LITTLE_BYTES:
                raise
            raise _unwritable(where, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _unwritable(where: Path, error: Exception) -> StoreError:
    return StoreError(f"{where}: no temporary files can be written ({error}): make room there or set TMPDIR elsewhere")


def _sweep(where: Path) -> None:
    """Removes the folders whose owners are gone."""
    for mark in where.glob(f"{PREFIX}*/{OWNER}"):
        try:
            if mark.lstat().st_uid != os.getuid():
                continue
            with mark.open("r+b") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(mark.parent, ignore_errors=True)
        except OSError:
            continue  # its owner lives
