"""What commands print: a table or sentences for people, JSON for programs; always to stdout, always pipeable."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import typer

from edgekit.core.noun import to_builtins


def show_json(value: object) -> None:
    """Prints nouns, dicts and tuples of them as JSON."""
    typer.echo(json.dumps(to_builtins(value), indent=2, ensure_ascii=False))


def show_table(heads: Sequence[str], rows: Sequence[Sequence[Any]], empty: str) -> None:
    """Prints rows in aligned columns; `empty` where there are none."""
    typer.echo(table(heads, rows) if rows else empty)


def say(text: str) -> None:
    """Prints a sentence."""
    typer.echo(text)


def say_lines(lines: Iterable[str]) -> None:
    """Prints lines, each fit for a terminal whatever a device or a file put into it."""
    typer.echo("\n".join(printable(line) for line in lines))


def note(text: str) -> None:
    """Prints a sentence that is not part of the result, to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns two spaces apart, cells that are None shown as "-".

    >>> print(table(("name", "n"), (("float", 1), ("int8", None))))
    name   n
    float  1
    int8   -
    """
    cells = [[str(h) for h in heads], *([("-" if c is None else printable(str(c))) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def printable(text: str) -> str:
    """`text` as one line without what steers a terminal: names and words may come from a device or a file.

    >>> printable("a\\x1b[31mb\\nc")
    'a [31mb c'
    """
    return "".join(c if c.isprintable() else " " for c in text)


def size(count: float | None) -> str:
    """Bytes for people.

    >>> size(1_536), size(None)
    ('1.5 KiB', '-')
    """
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """Seconds for people.

    >>> duration(0.0123), duration(2.5)
    ('12.30 ms', '2.50 s')
    """
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def moment(seconds: float) -> str:
    """A moment in local time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
