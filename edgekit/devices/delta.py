"""What changed between two files, block by block: as a patch that the device's Python applies, or as blocks to copy.

A block of the new file is a copy of a block of the base; or, where the device has Python, the block at its own place
(or at its own distance from the end) plus a packed change, byte by byte modulo 256: tensors that were fine-tuned lie
where they lay, and change little. Otherwise it is sent as it is, packed if that helps.
"""

import mmap
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Literal

BLOCK_BYTES = 1 << 16
RECORD = struct.Struct("<cIQI")
WORTH = 0.95
"""A delta of more than this share of the file is not worth its trouble."""

SAMPLES, SAMPLE_BYTES = 24, 1 << 12
LEVEL = 6
DENSE = 1 / 32
PAYS = 7 / 8
"""What stays larger than this share, by a sample, is sent as it is: to deflate and inflate it would take longer."""

HEAD_BYTES = 64
"""Blocks that begin alike are compared: of those, the first in the base alone."""

EDGE_BYTES = 1 << 10
"""A changed block begins or ends with a copy where at least so much of it did not change."""

THREADS, AHEAD = 2, 64
Buffer = mmap.mmap | bytes


@dataclass(frozen=True)
class Block:
    """How a block of the new file comes to be; `start` is a place in the base, `content` what is sent for it.

    The content is deflated where that makes it less than the block; it `deflates` as long as that is still to be done.
    """

    kind: Literal["copy", "add", "raw"]
    size: int
    start: int = 0
    content: bytes = b""
    deflates: bool = False


@contextmanager
def opened(path: Path) -> Iterator[Buffer]:
    """The bytes of a file, without reading it whole."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped


def write_patch(new: Path, base: Path, patch: BinaryIO) -> bool:
    """Writes a patch for ondevice/patch.py; False, and no more than a part of it, if it is not worth it."""
    with opened(new) as wanted, opened(base) as held:
        differ = _Differ(wanted, held)
        if not differ.promises():
            return False
        room = WORTH * len(wanted)
        for kind, size, start, content in _records(differ.blocks()):
            patch.write(RECORD.pack(kind, size, start, len(content)) + content)
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
            yield (b"A" if block.kind == "add" else b"R"), block.size, block.start, block.content
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

    @cached_property
    def _known(self) -> dict[bytes, int]:
        """Where the base has a block that begins so; of several the first."""
        starts = range(0, len(self._base) - BLOCK_BYTES + 1, BLOCK_BYTES)
        return {self._base[start : start + HEAD_BYTES]: start for start in reversed(starts)}

    def _starts(self) -> range:
        return range(0, len(self._new), BLOCK_BYTES)

    def copies(self) -> list[int | None]:
        """For each block of the new file, where the base has it; None if it does not."""
        return [self._copy(start) for start in self._starts()]

    def _copy(self, start: int) -> int | None:
        block = self._new[start : start + BLOCK_BYTES]
        if len(block) < BLOCK_BYTES:
            return None
        if block == self._base[start : start + BLOCK_BYTES]:
            return start
        place = self._known.get(block[:HEAD_BYTES])
        return place if place is not None and block == self._base[place : place + BLOCK_BYTES] else None

    def promises(self) -> bool:
        """Whether a few blocks out of all say that a patch may be worth it."""
        starts = self._starts()
        few = starts[:: max(1, len(starts) // SAMPLES)]
        parts = [part for start in few for part in self._parts(start)]
        sent = sum(len(_deflated(self._changed(*part)).content) for part in parts if not isinstance(part, Block))
        return sent < WORTH * sum(min(BLOCK_BYTES, len(self._new) - start) for start in few)

    def blocks(self) -> Iterator[Block]:
        """How each block comes to be, in order. What is deflated is so in other threads, ahead."""
        begun: deque[Block | Future[Block]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for start in self._starts():
                for part in self._parts(start):
                    block = part if isinstance(part, Block) else self._changed(*part)
                    begun.append(pool.submit(_deflated, block) if block.deflates else block)
                while len(begun) > AHEAD:
                    yield _made(begun.popleft())
            yield from map(_made, begun)

    def _parts(self, start: int) -> Iterator[Block | tuple[int, int]]:
        """A block as a copy; or from where to where it is another than the base, its edges as copies if they are."""
        if (place := self._copy(start)) is not None:
            yield Block("copy", BLOCK_BYTES, place)
            return
        end = min(start + BLOCK_BYTES, len(self._new))
        new, base = self._new[start:end], self._base[start:end]
        first = _agree(new, base)
        last = _agree(new[:first:-1], base[:first:-1]) if len(new) == len(base) else 0
        first, last = (size if size >= EDGE_BYTES else 0 for size in (first, last))
        if first:
            yield Block("copy", first, start)
        if start + first < end - last:
            yield start + first, end - last
        if last:
            yield Block("copy", last, end - last)

    def _changed(self, start: int, end: int) -> Block:
        """By itself, or by what is to be added to the base's: whichever a sample says is less."""
        block = self._new[start:end]
        sample = _sample(block)
        kind: Literal["add", "raw"] = "raw"
        place, least = 0, _huffman_bytes(sample)
        for there in {start, start + len(self._base) - len(self._new)}:
            if 0 <= there <= len(self._base) - len(block):
                size = _huffman_bytes(_difference(sample, _sample(self._base[there : there + len(block)])))
                if size < least:
                    kind, place, least = "add", there, size
        if kind == "add":
            block = _difference(block, self._base[place : place + len(block)])
        return Block(kind, end - start, place, block, deflates=least < PAYS * len(sample))


def _made(block: Block | Future[Block]) -> Block:
    return block if isinstance(block, Block) else block.result()


def _agree(one: bytes, other: bytes) -> int:
    """How many bytes both begin with.

    >>> _agree(b"edgekit", b"edgeless")
    4
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _difference(new: bytes, base: bytes) -> bytes:
    """The first less the second, byte by byte modulo 256; of a few bytes by the arithmetic of one long number.

    >>> _difference(bytes([7, 0]), bytes([5, 1]))
    b'\\x02\\xff'
    """
    if len(new) <= 2 * SAMPLE_BYTES:
        high = int.from_bytes(b"\x80" * len(new), "little")
        a, b = int.from_bytes(new, "little"), int.from_bytes(base, "little")
        return (((a | high) - (b & ~high)) ^ ((a ^ ~b) & high)).to_bytes(len(new), "little")
    import numpy as np  # a tenth of a second to load, which a change of few tensors does not need

    return (np.frombuffer(new, np.uint8) - np.frombuffer(base, np.uint8)).tobytes()


def _sample(block: bytes) -> bytes:
    """Some of its bytes, at an odd distance: all bytes of a wider number are among them."""
    return block[:: len(block) // SAMPLE_BYTES | 1]


def _huffman_bytes(content: bytes) -> int:
    """What Huffman's code alone makes of it, which takes no account of order."""
    packer = zlib.compressobj(LEVEL, strategy=zlib.Z_HUFFMAN_ONLY)
    return len(packer.compress(content)) + len(packer.flush())


def _deflated(block: Block) -> Block:
    """Where most bytes are others than the commonest, matches are noise: Huffman's code alone is shorter."""
    if not block.deflates:
        return block
    sample = _sample(block.content)
    common = max(map(sample.count, set(sample[:32])))  # what fills nearly all of it is among the first
    dense = common < len(sample) * (1 - DENSE)
    packer = zlib.compressobj(LEVEL, strategy=zlib.Z_HUFFMAN_ONLY if dense else zlib.Z_DEFAULT_STRATEGY)
    packed = packer.compress(block.content) + packer.flush()
    return Block(block.kind, block.size, block.start, min(packed, block.content, key=len))


def held_bases(held: Sequence[tuple[str, str]], path: str) -> list[tuple[str, str]]:
    """Of the (sha256, path) of files on a device those that may resemble `path`, the newest versions first.

    >>> held_bases([("a", "bench/1/net.onnx"), ("b", "bench/1/x.npz"), ("c", "models/n/versions/2/net.onnx")], "m.onnx")
    [('c', 'models/n/versions/2/net.onnx'), ('a', 'bench/1/net.onnx')]
    """
    ending = Path(path).suffix
    alike = {sha: where for sha, where in held if Path(where).suffix == ending}
    return sorted(alike.items(), key=lambda item: item[1], reverse=True)
