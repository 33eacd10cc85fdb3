"""How the files of a parcel come to be on a device: sent whole, made of one that it holds, or out of an archive."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.devices.parcel import Parcel, write_tar
from edgekit.devices.pieces import Load, Piece
from edgekit.devices.scripts import on_device

LARGE_BYTES = 1 << 20
"""A file from this size on is sent by itself, or as its change."""

LINE_BYTES = 1 << 14
"""The longest manifest that goes in the words of a command; a longer one is a file of the archive."""

_HELD = re.compile(r"([0-9a-f]{64}) ([^\n]+)")

FindFile = Callable[[str], Path | None]
"""The host's own copy of a file, by its sha256."""


@dataclass(frozen=True)
class Way:
    """How a large file comes to be: "whole", by a "patch", of "blocks"; the lines of the plan that make it.

    It takes a load of its own or, beside the small files, what is in `beside`.
    """

    name: str
    lines: tuple[str, ...]
    load: Load | None = None
    beside: dict[str, bytes | Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Shipment:
    """What is sent for a parcel: the way of each large file, and an archive of the rest, if there is any."""

    ways: tuple[Way, ...]
    rest: Load | None
    manifest: str

    @property
    def loads(self) -> tuple[Load, ...]:
        """All that is sent."""
        whole = tuple(way.load for way in self.ways if way.load is not None)
        return whole if self.rest is None else (*whole, self.rest)

    def plan(self, pieces: Sequence[Piece]) -> str:
        """The plan of ondevice/receive.sh: what is made of the pieces."""
        lines = []
        for load, made in ((self.rest, ("unpack",)), *((way.load, way.lines) for way in self.ways)):
            lines += [f"piece {piece.name}" for piece in pieces if piece.load is load]
            lines += made if load is not self.rest or self.rest is not None else ()
        return "\n".join(lines)


def shipment(parcel: Parcel, found: dict[str, str], find_file: FindFile | None, folder: Path) -> Shipment:
    """What to send of a parcel to a device that said `found` of itself; what is made for it is put into `folder`.

    A file goes as the change of one that the device holds and `find_file` finds here, if that is less.
    """
    large = {name: path for name, path in sorted(parcel.files.items()) if path.stat().st_size >= LARGE_BYTES}
    ways = tuple(_ways(parcel, large, found, find_file, folder))
    entries: dict[str, bytes | Path] = {name: path for name, path in parcel.files.items() if name not in large}
    for way in ways:
        entries |= way.beside
    if not entries and len(parcel.manifest) <= LINE_BYTES:
        return Shipment(ways, None, parcel.manifest.decode())
    with (folder / "rest").open("w+b") as file:
        write_tar(file, entries | {".manifest": parcel.manifest})
        size = file.tell()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Shipment(ways, Load(folder / "rest", digest, size), "")


def _ways(
    parcel: Parcel, large: dict[str, Path], found: dict[str, str], find_file: FindFile | None, folder: Path
) -> Iterator[Way]:
    held = [(m[1], m[2]) for m in map(_HELD.fullmatch, found.get("held", "").split("\n")) if m]
    for number, (name, path) in enumerate(large.items()):
        change = None
        if held and find_file is not None:
            change = _change(name, path, held, find_file, folder / f".sent{number}", python="python" in found)
        yield change or Way("whole", (f"join {name}",), Load(path, parcel.sums[name], path.stat().st_size))


def _change(
    name: str, path: Path, held: list[tuple[str, str]], find_file: FindFile, target: Path, *, python: bool
) -> Way | None:
    """The change of the first file there that is here too and resembles this one; None if none does."""
    from edgekit.devices.delta import held_bases, write_blocks, write_patch  # what most pushes do not need

    for sha256, place in held_bases(held, name):
        if (base := find_file(sha256)) is None:
            continue
        with target.open("wb") as file:
            if python:
                made, recipe = write_patch(path, base, file), b""
            else:
                recipe = write_blocks(path, base, file) or b""
                made = bool(recipe)
        if not made:
            continue
        if python:
            beside: dict[str, bytes | Path] = {target.name: target, ".patch.py": on_device("patch.py")}
            return Way("patch", (f"base {place}", f"patch {target.name} {name}"), beside=beside)
        words = f"build .recipe{target.name} {target.name} {name}"
        return Way("blocks", (f"base {place}", words), beside={target.name: target, f".recipe{target.name}": recipe})
    return None
