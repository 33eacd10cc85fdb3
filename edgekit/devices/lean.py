"""paramiko in half the time that it takes to load: without invoke, and with nothing collected meanwhile.

invoke serves `Match exec` in paramiko's own ssh_config. Whoever uses that in this process gets it then: it is loaded
late, not left out. What is loaded is no garbage, but there is enough of it to be looked through several times, and at
the end of the process several times more, for the sake of memory that the system takes back anyway.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

LATE = "invoke"


class _Late(ModuleType):
    """Stands in for a module until something of it is asked for."""

    def __getattr__(self, name: str) -> object:
        return getattr(import_module(self.__name__), name)


@contextmanager
def loaded_late(name: str) -> Iterator[None]:
    """What is imported in the block, and imports the module `name`, has it loaded at its first use. Raises nothing."""
    if name in sys.modules:
        yield
        return
    stand_in = sys.modules[name] = _Late(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Runs the block without the collector of garbage, if that is on; it takes what was made there for old, unseen."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():  # else it is the user's own that would be set free
                gc.freeze()
                gc.unfreeze()
            gc.enable()


with loaded_late(LATE), nothing_collected():
    import paramiko

atexit.register(gc.freeze)

__all__ = ["paramiko"]
