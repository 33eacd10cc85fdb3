"""What changed between two files, block by block: as a patch that the device's Python applies, or as blocks to copy.

A block of the new file is a copy of a block of the base; or, where the device has Python, the block at its own place
(or at its own distance from the end) plus a packed change, byte by byte modulo 256: tensors that were fine-tuned lie
where they lay, and change little. Otherwise it is sent as it is, packed if that helps.
"""

import mmap
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

BLOCK_BYTES = 1 << 16
RECORD = struct.Struct("<cIQI")
WORTH = 0.95
"""A delta of more than this share of the file is not worth its trouble."""

SAMPLES = 24
LEVEL = 6
DENSE = 1 / 32
HEAD_BYTES = 64
"""Blocks that begin alike are compared: of those, the first in the base alone."""

THREADS = 2
Buffer = memoryview


@dataclass(frozen=True)
class Block:
    """How a block of the new file comes to be; `start` is a place in the base, `packed` a deflated string."""

    kind: Literal["copy", "add", "raw"]
    size: int
    start: int = 0
    packed: bytes = b""


@contextmanager
def opened(path: Path) -> Iterator[Buffer]:
    """The bytes of a file, without reading it whole."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            yield memoryview(b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            yield view


def write_patch(new: Path, base: Path, patch: BinaryIO) -> bool:
    """Writes a patch for ondevice/patch.py; False, and no more than a part of it, if it is not worth it."""
    with opened(new) as wanted, opened(base) as held:
        differ = _Differ(wanted, held)
        if not differ.promises():
            return False
        room = WORTH * len(wanted)
        for kind, size, start, packed in _records(differ.blocks()):
            patch.write(RECORD.pack(kind, size, start, len(packed)) + packed)
            if patch.tell() > room:
                return False
    return True


def _records(blocks: Iterator[Block]) -> Iterator[tuple[bytes, int, int, bytes]]:
    """The records of a patch: copies that follow each other in both files are one."""
    run: Block | None = None
    for block in blocks:
        if run is not None:
            if block.kind == "copy" and run.start + run.size == block.start:
                run = Block("copy", run.size + block.size, run.start)
                continue
            yield b"C", run.size, run.start, b""
            run = None
        if block.kind == "copy":
            run = block
        else:
            yield (b"A" if block.kind == "add" else b"R"), block.size, block.start, block.packed
    if run is not None:
        yield b"C", run.size, run.start, b""


def write_blocks(new: Path, base: Path, sent: BinaryIO) -> bytes | None:
    """Writes the blocks that the base does not have; the recipe of ondevice/receive.sh. None if it is not worth it."""
    with opened(new) as wanted, opened(base) as held:
        copies = _Differ(wanted, held).copies()
        if sum(start is None for start in copies) > WORTH * len(copies):
            return None
        places: list[tuple[str, int]] = []
        for number, start in enumerate(copies):
            if start is not None:
                places.append(("base", start // BLOCK_BYTES))
            else:
                places.append(("sent", sent.tell() // BLOCK_BYTES))
                sent.write(wanted[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES])
    lines = []
    for (source, _), run in groupby(enumerate(places), key=lambda item: (item[1][0], item[1][1] - item[0])):
        members = list(run)
        lines.append(f"{source} {members[0][1][1]} {len(members)}\n")
    return "".join(lines).encode()


class _Differ:
    """Two files, compared block by block."""

    def __init__(self, new: Buffer, base: Buffer) -> None:
        self._new, self._base = new, base
        self._known: dict[bytes, int] = {}
        for start in range(0, len(base) - BLOCK_BYTES + 1, BLOCK_BYTES):
            self._known.setdefault(bytes(base[start : start + HEAD_BYTES]), start)

    def _starts(self) -> range:
        return range(0, len(self._new), BLOCK_BYTES)

    def copies(self) -> list[int | None]:
        """For each block of the new file, where the base has it; None if it does not."""
        return [self._copy(start) for start in self._starts()]

    def _copy(self, start: int) -> int | None:
        block = bytes(self._new[start : start + BLOCK_BYTES])
        if len(block) == BLOCK_BYTES:
            for place in (start, self._known.get(block[:HEAD_BYTES])):
                if place is not None and block == bytes(self._base[place : place + BLOCK_BYTES]):
                    return place
        return None

    def promises(self) -> bool:
        """Whether a few blocks out of all say that a patch may be worth it."""
        starts = self._starts()
        few = starts[:: max(1, len(starts) // SAMPLES)]
        blocks = [self._block(start) for start in few]
        return sum(len(block.packed) for block in blocks) < WORTH * sum(block.size for block in blocks)

    def blocks(self) -> Iterator[Block]:
        """How each block comes to be, in order."""
        with ThreadPoolExecutor(THREADS) as pool:
            yield from pool.map(self._block, self._starts())

    def _block(self, start: int) -> Block:
        block = self._new[start : start + BLOCK_BYTES]
        if (place := self._copy(start)) is not None:
            return Block("copy", len(block), place)
        ways: list[tuple[Literal["raw", "add"], int, np.ndarray]] = [("raw", 0, np.frombuffer(block, np.uint8))]
        for place in {start, start + len(self._base) - len(self._new)}:
            if 0 <= place <= len(self._base) - len(block):
                ways.append(("add", place, _difference(block, self._base[place : place + len(block)])))
        kind, place, content = min(ways, key=lambda way: _entropy(way[2]))
        return Block(kind, len(block), place, _packed(content))


def _difference(new: Buffer, base: Buffer) -> np.ndarray:
    return np.frombuffer(new, np.uint8) - np.frombuffer(base, np.uint8)


def _entropy(content: np.ndarray) -> float:
    """Bits of a byte, by how often each occurs."""
    counts = np.bincount(content, minlength=256)
    shares = counts[counts > 0] / len(content)
    return -float(shares @ np.log2(shares))


def _packed(content: np.ndarray) -> bytes:
    """Deflated. Where most bytes are others than the commonest, matches are noise: Huffman's code alone is shorter."""
    common = np.bincount(content, minlength=256).max()
    dense = len(content) - common > len(content) * DENSE
    packer = zlib.compressobj(LEVEL, strategy=zlib.Z_HUFFMAN_ONLY if dense else zlib.Z_DEFAULT_STRATEGY)
    return packer.compress(content.tobytes()) + packer.flush()


def held_bases(held: Sequence[tuple[str, str]], path: str) -> list[tuple[str, str]]:
    """Of the (sha256, path) of files on a device those that may resemble `path`, the newest versions first.

    >>> held_bases([("a", "bench/1/net.onnx"), ("b", "bench/1/x.npz"), ("c", "models/n/versions/2/net.onnx")], "m.onnx")
    [('c', 'models/n/versions/2/net.onnx'), ('a', 'bench/1/net.onnx')]
    """
    ending = Path(path).suffix
    alike = {sha: where for sha, where in held if Path(where).suffix == ending}
    return sorted(alike.items(), key=lambda item: item[1], reverse=True)
