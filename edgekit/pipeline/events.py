"""What the pipeline says while it works, for whoever shows progress."""

from collections.abc import Callable
from typing import Literal

from edgekit.core.noun import Noun


class Event(Noun, frozen=True, kw_only=True):
    """One step of a long job: the kind of work, the line for people, `done` of `total` where known."""

    stage: Literal["load", "device", "profile", "compile", "evaluate", "measure", "test", "install", "done"]
    text: str
    done: int | None = None
    total: int | None = None


Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """Hears an event and says nothing."""
