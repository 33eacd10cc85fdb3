"""Progress of long work, on stderr: a moving line on a terminal, one line a step elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgekit.cli.output import note

if TYPE_CHECKING:
    from edgekit.pipeline.events import Event, Listener


@contextmanager
def shown() -> "Iterator[Listener]":
    """A listener for a pipeline's events that shows them while the block runs."""
    if sys.stderr.isatty():
        with _moving() as listener:
            yield listener
    else:
        yield _line


def _line(event: "Event") -> None:
    count = f" ({event.done}/{event.total})" if event.total else ""
    note(f"{event.stage}: {event.text}{count}")


@contextmanager
def _moving() -> "Iterator[Listener]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.fields[stage]:<9}"), BarColumn(20), MofNCompleteColumn())
    text = TextColumn("{task.description}", markup=False)
    with Progress(*columns, TimeElapsedColumn(), text, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, stage="")

        def listener(event: "Event") -> None:
            progress.update(
                task, description=event.text, completed=event.done or 0, total=event.total, stage=event.stage
            )

        yield listener
