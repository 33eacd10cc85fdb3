"""Damaged model files, seeded, and what becomes of them: many are tried in one child, and another one if that dies.

Loads neither torch nor pytest, because each child imports it.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgekit.errors import ArtifactError
from edgekit.formats.child import call_in_child
from edgekit.formats.verify import compare, judged

DEADLINE_S = 60.0
"""For all files of one child: a file that takes as long hangs."""
MEMORY_BYTES = 3 << 30

Damage = Callable[[bytes, np.random.Generator], bytes]


class Tried(NamedTuple):
    """What became of a file: it is refused (or its process died) for a `reason`, or it ran and is `right` or not."""

    damage: str
    reason: str | None
    right: bool


def flipped(content: bytes, draw: np.random.Generator) -> bytes:
    """One to 64 bits flipped anywhere, mostly few."""
    changed = np.frombuffer(content, np.uint8).copy()
    for at in draw.integers(len(changed), size=1 << int(draw.integers(7))):
        changed[at] ^= 1 << int(draw.integers(8))
    return changed.tobytes()


def cut(content: bytes, draw: np.random.Generator) -> bytes:
    """A part of the file, from its beginning."""
    return content[: int(draw.integers(1, len(content)))]


def wrong_magic(content: bytes, draw: np.random.Generator) -> bytes:
    """The first eight bytes at random."""
    return draw.bytes(8) + content[8:]


def garbage_behind(content: bytes, draw: np.random.Generator) -> bytes:
    """Up to 4 KiB at random behind the file."""
    return content + draw.bytes(int(draw.integers(1, 4096)))


def holed(content: bytes, draw: np.random.Generator) -> bytes:
    """A piece of the file taken out, so that all behind it lies elsewhere."""
    at = int(draw.integers(len(content)))
    return content[:at] + content[at + int(draw.integers(1, 64)) :]


def largest_numbers(content: bytes, draw: np.random.Generator) -> bytes:
    """The largest 32-bit number in four places: sizes, offsets, counts."""
    changed = bytearray(content)
    for at in draw.integers(max(len(content) - 4, 1), size=4):
        changed[at : at + 4] = b"\xff\xff\xff\x7f"
    return bytes(changed)


def emptied(content: bytes, draw: np.random.Generator) -> bytes:
    """Nothing, or as much of nothing but zeros."""
    return b"" if draw.integers(2) else bytes(len(content))


DAMAGES: tuple[Damage, ...] = (flipped, cut, wrong_magic, garbage_behind, holed, largest_numbers, emptied)


def write_damaged(
    content: bytes, suffix: str, count: int, folder: Path, damages: Sequence[Damage] = DAMAGES
) -> dict[Path, str]:
    """`count` damaged files in `folder`, each kind of damage in turn, and which it is."""
    made = {}
    for i in range(count):
        damage, draw = damages[i % len(damages)], np.random.default_rng(i)
        path = folder / f"{i}{suffix}"
        path.write_bytes(damage(content, draw))
        made[path] = damage.__name__
    return made


def try_files(format_name: str, files: dict[Path, str], vectors: Path, log: Path) -> list[Tried]:
    """What becomes of each of `files`, run on test vectors as `verify` does it; `log` is a file for the children.

    Raises: whatever escapes: nothing may.
    """
    found: list[Tried] = []
    waiting = list(files)
    while waiting:
        log.write_text("")
        job = {"format": format_name, "paths": list(map(str, waiting)), "vectors": str(vectors), "log": str(log)}
        died = None
        try:
            call_in_child(
                "edgekit.testing.damage:try_in_child", job, what="a damaged file", error=ArtifactError,
                deadline_s=DEADLINE_S, memory_bytes=MEMORY_BYTES,
            )  # fmt: skip
        except ArtifactError as error:
            died = str(error)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        found += [Tried(files[p], line["reason"], line["right"]) for p, line in zip(waiting, lines, strict=False)]
        waiting = waiting[len(lines) :]
        if died is not None and waiting:
            found.append(Tried(files[waiting.pop(0)], died, right=False))
        elif waiting and not lines:
            raise AssertionError("a child ended well and tried nothing")
    return found


def try_in_child(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[None, dict[str, np.ndarray]]:
    """In the child: one line of JSON in the log for each file that did not end this process."""
    with Path(job["log"]).open("a") as log:
        for path in job["paths"]:
            reason, right = None, False
            try:
                found, _none = compare({**job, "path": path}, {})
                right = not judged("it", found)[1]
            except Exception as error:  # noqa: BLE001  all of it is a reason
                reason = f"{type(error).__name__}: {error}"
            log.write(json.dumps({"reason": reason, "right": right}) + "\n")
            log.flush()
    return None, {}
