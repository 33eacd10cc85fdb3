"""Makes a file from an older one and what changed: patch.py BASE PATCH TARGET. Python 3.8 and older; asks nothing.

A patch is records of a kind, the bytes that it makes, where in the base, and how many bytes follow, which are deflated
if they are fewer: C the base's bytes as they are; A the base's plus these, byte by byte modulo 256; R these alone.
It prints the sha256 of the file, read back behind the writing while the disk takes what is written.
"""

import hashlib
import os
import struct
import sys
import threading
import zlib
from collections import deque
from itertools import chain

DAMAGED = "the patch is damaged"
RECORD = struct.Struct("<cIQI")

BLOCK = 1 << 20
STEP = 8 << 20
"""So much of a long copy is done before those who follow are told."""

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


def unpack(packed, size):
    """What was packed, and no more of it than `size`."""
    if len(packed) == size:
        return packed
    try:
        return zlib.decompressobj().decompress(packed, size) if packed else b""
    except zlib.error:
        raise SystemExit(DAMAGED) from None


def read(file, size):
    """Exactly so many bytes."""
    found = file.read(size)
    if len(found) != size:
        raise SystemExit("the patch does not fit the file that it is for")
    return found


def records(patch):
    """Each record, what is packed in it as it is."""
    while True:
        head = patch.read(RECORD.size)
        if not head:
            return
        if len(head) < RECORD.size:
            raise SystemExit(DAMAGED)
        kind, size, start, packed = RECORD.unpack(head)
        yield kind, size, start, read(patch, packed)


def unpacked(items):
    """The same records with what was packed; ahead, from the first on that takes long."""
    for first in items:
        if first[3] and len(first[3]) < first[1] // 2:
            break
        yield (*first[:3], unpack(first[3], first[1]))
    else:
        return
    from concurrent.futures import ThreadPoolExecutor  # what it loads takes as long as some hundred records

    with ThreadPoolExecutor(2) as pool:
        begun = deque()
        for item in chain([first], items):
            begun.append((*item[:3], pool.submit(unpack, item[3], item[1])))
            if len(begun) > AHEAD:
                yield (*begun[0][:3], begun.popleft()[3].result())
        for item in begun:
            yield (*item[:3], item[3].result())


class Behind:
    """What follows the writing of a file, each in a thread of its own: reading it back, and the disk."""

    def __init__(self, name):
        self.sum, self.written, self.whole, self.change = hashlib.sha256(), 0, False, threading.Condition()
        self.file, self.failed = open(name, "rb", buffering=0), None
        works = (self.read_back, self.flush)
        self.threads = [threading.Thread(target=self.work, args=(each,), daemon=True) for each in works]
        for thread in self.threads:
            thread.start()

    def tell(self, target):
        """More was written to the file."""
        target.flush()
        with self.change:
            self.written = target.tell()
            self.change.notify_all()

    def more(self, than):
        """How much is written and whether that is all, once it is more than that."""
        with self.change:
            while self.written <= than and not self.whole:
                self.change.wait()
            return self.written, self.whole

    def work(self, each):
        """What fails in a thread is told by `end`."""
        try:
            each()
        except OSError as error:
            self.failed = error

    def read_back(self):
        """Takes the sum."""
        done, whole, block = 0, False, memoryview(bytearray(BLOCK))
        while not whole:
            written, whole = self.more(done)
            while done < written:
                got = self.file.readinto(block[: min(BLOCK, written - done)])
                if not got:
                    return
                self.sum.update(block[:got])
                done += got

    def flush(self):
        """Has the disk write while there is more to come."""
        done, whole = 0, False
        while not whole:
            done, whole = self.more(done)
            os.fsync(self.file.fileno())

    def end(self):
        """The sum, once all is read back and on the disk; no more is written."""
        with self.change:
            self.whole = True
            self.change.notify_all()
        for thread in self.threads:
            thread.join()
        self.file.close()
        if self.failed is not None:
            raise SystemExit("the file that was made: {}".format(self.failed))
        return self.sum.hexdigest()


def copy(base, start, size, target):
    """So many bytes of the base at the place of the target, by the system itself where it can. False if it cannot."""
    if not hasattr(os, "copy_file_range"):
        return False
    done = 0
    try:
        while done < size:
            got = os.copy_file_range(base.fileno(), target.fileno(), size - done, start + done)
            if not got:
                raise SystemExit("the patch does not fit the file that it is for")
            done += got
    except OSError:
        if done:
            raise
        return False
    return True


def apply(base, patch, target, tell):
    """Writes the new file."""
    for kind, size, start, change in unpacked(records(patch)):
        if kind == b"C":
            for done in range(0, size, STEP):
                step = min(STEP, size - done)
                if not copy(base, start + done, step, target):
                    base.seek(start + done)
                    for some in range(0, step, BLOCK):
                        target.write(read(base, min(BLOCK, step - some)))
                tell(target)
            continue
        if len(change) != size:
            raise SystemExit(DAMAGED)
        base.seek(start)
        if kind == b"A":
            target.write(add(read(base, size), change))
        elif kind == b"R":
            target.write(change)
        else:
            raise SystemExit(DAMAGED)
        tell(target)


def main(base, patch, target):
    """Makes the file; prints its sha256."""
    with open(base, "rb") as old, open(patch, "rb") as changes, open(target, "wb") as new:
        behind = Behind(target)
        apply(old, changes, new, behind.tell)
        behind.tell(new)
    print(behind.end())


if __name__ == "__main__":
    main(*sys.argv[1:])
