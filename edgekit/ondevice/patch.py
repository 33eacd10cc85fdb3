"""Makes a file from an older one and what changed: patch.py BASE PATCH TARGET. Python 3.8 and older; asks nothing.

A patch is records of a kind, the bytes that it makes, where in the base, and how many packed bytes follow:
C the base's bytes as they are; A the base's plus the packed ones, byte by byte, modulo 256; R the packed ones alone.
"""

import struct
import sys
import zlib

DAMAGED = "the patch is damaged"
RECORD = struct.Struct("<cIQI")


def add(base, change):
    """The sums of two strings of bytes, byte by byte modulo 256, by the arithmetic of one long number."""
    size = len(base)
    high = int.from_bytes(b"\x80" * size, "little")
    low = int.from_bytes(b"\x7f" * size, "little")
    a, b = int.from_bytes(base, "little"), int.from_bytes(change, "little")
    return (((a & low) + (b & low)) ^ ((a ^ b) & high)).to_bytes(size, "little")


def read(file, size):
    """Exactly so many bytes."""
    found = file.read(size)
    if len(found) != size:
        raise SystemExit("the patch does not fit the file that it is for")
    return found


def apply(base, patch, target):
    """Writes the new file."""
    while True:
        head = patch.read(RECORD.size)
        if not head:
            return
        if len(head) < RECORD.size:
            raise SystemExit(DAMAGED)
        kind, size, start, packed = RECORD.unpack(head)
        base.seek(start)
        try:
            change = zlib.decompressobj().decompress(read(patch, packed), size) if packed else b""
        except zlib.error:
            raise SystemExit(DAMAGED) from None
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
