"""Which leases this computer's living programs have: one whose program is gone, or was cut off, is known at once.

A mark is a file of the lease's id in edgekit's home, locked for as long as the program lives; the system lets go of it
however the program ends. That says more than a name and a process number, which another computer may have too.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgekit.errors import StoreError
from edgekit.store.home import home

KEPT_S = 7 * 86400.0
"""How long the mark of a killed program is of use: longer than any lease."""


@contextmanager
def marked(lease_id: str) -> Iterator[None]:
    """Marks the lease as a living program's while the block runs, and then as an orphan, until `forget`.

    Raises: StoreError.
    """
    path = _folder() / lease_id
    _sweep(path.parent)
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("wb")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}): set EDGEKIT_HOME elsewhere") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def forget(lease_id: str) -> None:
    """Removes the mark of a lease that is no more."""
    with suppress(OSError):
        (_folder() / lease_id).unlink()


def is_orphan(lease_id: str) -> bool:
    """Whether that is the lease of a program of this computer that is gone. Of others nothing is known: False."""
    return lease_id.isalnum() and _unlocked(_folder() / lease_id)


def _folder() -> Path:
    return home() / "leases"


def _unlocked(path: Path) -> bool:
    try:
        with path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:
        return False


def _sweep(folder: Path) -> None:
    """Removes the marks that are of no use any more."""
    for path in folder.glob("*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT_S and _unlocked(path):
                path.unlink()
