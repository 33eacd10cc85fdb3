"""Makes a file from an older one and what changed: patch.py BASE PATCH TARGET. Python 3.8 and older; asks nothing.

A patch is records of a kind, the bytes that it makes, where in the base, and how many packed bytes follow:
C the base's bytes as they are; A the base's plus the packed ones, byte by byte, modulo 256; R the packed ones alone.
"""

import struct
import sys
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor

DAMAGED = "the patch is damaged"
RECORD = struct.Struct("<cIQI")


AHEAD = 8
"""So many records are unpacked at once, on other processors, while the file is written."""

masks = {}


def add(base, change):
    """The sums of two strings of bytes, byte by byte modulo 256, by the arithmetic of one long number."""
    size = len(base)
    if size not in masks:
        masks.clear()
        masks[size] = [int.from_bytes(bytes([each]) * size, "little") for each in (0x80, 0x7F)]
    high, low = masks[size]
    a, b = int.from_bytes(base, "little"), int.from_bytes(change, "little")
    return (((a & low) + (b & low)) ^ ((a ^ b) & high)).to_bytes(size, "little")


def read(file, size):
    """Exactly so many bytes."""
    found = file.read(size)
    if len(found) != size:
        raise SystemExit("the patch does not fit the file that it is for")
    return found


def unpack(packed, size):
    """What was packed, and no more of it than `size`."""
    try:
        return zlib.decompressobj().decompress(packed, size) if packed else b""
    except zlib.error:
        raise SystemExit(DAMAGED) from None


def records(patch, pool):
    """Each record, its packed bytes about to be unpacked."""
    while True:
        head = patch.read(RECORD.size)
        if not head:
            return
        if len(head) < RECORD.size:
            raise SystemExit(DAMAGED)
        kind, size, start, packed = RECORD.unpack(head)
        yield kind, size, start, pool.submit(unpack, read(patch, packed), size)


def ahead(items):
    """The same items, of which some are begun before they are asked for."""
    begun = deque()
    for item in items:
        begun.append(item)
        if len(begun) > AHEAD:
            yield begun.popleft()
    yield from begun


def apply(base, patch, target):
    """Writes the new file."""
    with ThreadPoolExecutor(2) as pool:
        for kind, size, start, unpacked in ahead(records(patch, pool)):
            change = unpacked.result()
            base.seek(start)
            if kind == b"C":
                for done in range(0, size, 1 << 20):
                    target.write(read(base, min(1 << 20, size - done)))
            elif kind == b"A" and len(change) == size:
                target.write(add(read(base, size), change))
            elif kind == b"R" and len(change) == size:
                target.write(change)
            else:
                raise SystemExit(DAMAGED)


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as old, open(sys.argv[2], "rb") as changes, open(sys.argv[3], "wb") as new:
        apply(old, changes, new)
