"""Files cut into ranges that are sent one by one: those that have arrived, and those that are to be sent."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

WIDE_BYTES = 8 << 20
"""What is smaller goes in one range."""

_PART = re.compile(r"(\d{1,15}) ([0-9a-f]{64}) (([0-9a-f]{64})-(\d{15}))")


@dataclass(frozen=True)
class Load:
    """What is sent as it is: a file, or an archive of several."""

    source: Path
    sha256: str
    size: int


@dataclass
class Piece:
    """A range of a load, at the device in a file of its own; the first `there` bytes have arrived."""

    load: Load
    start: int
    size: int
    there: int = 0

    @property
    def name(self) -> str:
        """Its name among the parts on the device."""
        return f"{self.load.sha256}-{self.start:015d}"


def pieces_of(loads: Sequence[Load], told: Sequence[str], count: int) -> list[Piece]:
    """The ranges that each load is sent in: those that have arrived before, and about `count` for what is missing.

    `told` are the pieces that a device has, each "SIZE SHA256 NAME"; what is no such line is passed over.
    """
    pieces: list[Piece] = []
    parts = [m for m in map(_PART.fullmatch, told) if m]
    for load in loads:
        there = {int(m[5]): (int(m[1]), m[2]) for m in parts if m[4] == load.sha256}
        pieces += _cover(load, there, count if load.size >= WIDE_BYTES else 1)
    return pieces


def _cover(load: Load, there: dict[int, tuple[int, str]], count: int) -> Iterator[Piece]:
    """Pieces without gap or overlap. What arrived counts only if it is the same there as here."""
    with load.source.open("rb") as file:
        sound = {start: size for start, (size, sha256) in there.items() if _range_sum(file, start, size) == sha256}
    place = 0
    while place < load.size:
        upto = min((start for start in sound if start > place), default=load.size)
        have = min(sound.get(place, 0), upto - place)
        if have < sound.get(place, 0):  # it overlaps another: send it anew
            have = 0
        missing = upto - place - have
        first = have + (missing if count == 1 else -(-missing // count))
        yield Piece(load, place, first, have)
        place += first
        while count > 1 and place < upto:
            size = min(-(-missing // count), upto - place)
            yield Piece(load, place, size)
            place += size


def _range_sum(file: BinaryIO, start: int, size: int) -> str:
    file.seek(start)
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest() if size == 0 else ""
