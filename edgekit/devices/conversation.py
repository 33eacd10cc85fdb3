"""The four verbs of a transport, written once over a running command: run, stream, put, get."""

import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from edgekit.devices.said import readable, refusal
from edgekit.devices.transport import LIMIT_BYTES, STREAM_LIMIT_BYTES, Completed, OnBytes
from edgekit.devices.words import checked
from edgekit.errors import DeadlineError, DeviceError

Source = Literal["out", "err", "end"]
TAIL_BYTES = 8192
TRIPS = 2
"""Round trips of a command over SSH: one opens its channel, one starts it."""


class Running(Protocol):
    """A command that runs on a device, its input already under way."""

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """The next bytes it wrote, "end" once both its outputs are closed; None if nothing came in time."""

    def status(self, timeout_s: float) -> int | None:
        """Its exit status, 0 to 255; None if it has not ended in time. Raises: as `Transport`."""

    def close(self) -> None:
        """Lets go of it; ends it where that can be done, if it has not ended. Raises nothing."""


class Conversation(ABC):
    """A transport, but for how a command is started and how the way is closed. See `Transport`."""

    faults: frozenset[str] = frozenset()

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """The command, running. Raises: as `Transport`."""

    def trip_s(self) -> float:
        """About how long a round trip takes. Raises: as `Transport.run`."""
        began = time.monotonic()
        self.run(("true",), timeout_s=60)
        return (time.monotonic() - began) / TRIPS

    @abstractmethod
    def overdue(self) -> None:
        """Called after a deadline: nothing that was asked may still block."""

    @abstractmethod
    def close(self) -> None:
        """As `Transport.close`."""

    def run(
        self,
        words: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | BinaryIO | None = None,
        limit_bytes: int = LIMIT_BYTES,
        on_bytes: OnBytes | None = None,
    ) -> Completed:
        """As `Transport.run`."""
        kept: dict[str, list[bytes]] = {"out": [], "err": []}
        room = {"out": limit_bytes, "err": limit_bytes}
        with closing(self._talk(words, timeout_s, timeout_s, stdin, on_bytes)) as talk:
            for source, block in talk:
                if isinstance(block, int):
                    return Completed(status=block, stdout=b"".join(kept["out"]), stderr=b"".join(kept["err"]))
                kept[source].append(block)
                room[source] -= len(block)
                if room[source] < 0:
                    raise self._too_much(words, limit_bytes)
        raise AssertionError("a talk ends with a status")

    def stream(
        self,
        words: Sequence[str],
        *,
        timeout_s: float,
        idle_s: float,
        stdin: bytes | BinaryIO | None = None,
        limit_bytes: int = STREAM_LIMIT_BYTES,
    ) -> Generator[bytes, None, None]:
        """As `Transport.stream`."""
        begun, told, taken = bytearray(), b"", 0
        with closing(self._talk(words, timeout_s, idle_s, stdin, None)) as talk:
            for source, block in talk:
                if isinstance(block, int):
                    if begun:
                        yield bytes(begun)
                    if block:
                        raise refusal(self.name, words, Completed(status=block, stderr=told))
                    return
                if source == "err":
                    told = (told + block)[-TAIL_BYTES:]
                    continue
                taken += len(block)
                if taken > limit_bytes:
                    raise self._too_much(words, limit_bytes)
                begun += block
                if b"\n" in block:
                    *lines, rest = begun.split(b"\n")
                    begun = bytearray(rest)
                    yield from map(bytes, lines)

    def put(self, source: Path, target: str, *, timeout_s: float, on_bytes: OnBytes | None = None) -> None:
        """As `Transport.put`."""
        words = ("sh", "-c", 'cat > "$1"', "sh", target)
        with source.open("rb") as file:
            done = self.run(words, timeout_s=timeout_s, stdin=file, on_bytes=on_bytes)
        if done.status:
            raise refusal(self.name, words, done, doing=f"writing {readable(target)}")

    def get(self, source: str, target: Path, *, timeout_s: float, limit_bytes: int = LIMIT_BYTES) -> None:
        """As `Transport.get`."""
        words = ("sh", "-c", 'cat < "$1"', "sh", source)
        part = target.with_name(f".{target.name}.part")
        told, taken, status = b"", 0, -1
        try:
            with part.open("wb") as file, closing(self._talk(words, timeout_s, timeout_s, None, None)) as talk:
                for where, block in talk:
                    if isinstance(block, int):
                        status = block
                    elif where == "err":
                        told = (told + block)[-TAIL_BYTES:]
                    else:
                        taken += len(block)
                        if taken > limit_bytes:
                            raise self._too_much(words, limit_bytes, f"{readable(source)} is larger than")
                        file.write(block)
            if status:
                raise refusal(
                    self.name, words, Completed(status=status, stderr=told), doing=f"reading {readable(source)}"
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _talk(
        self,
        words: Sequence[str],
        timeout_s: float,
        idle_s: float,
        stdin: bytes | BinaryIO | None,
        on_bytes: OnBytes | None,
    ) -> Generator[tuple[Source, bytes | int], None, None]:
        """What a command writes, and last of all ("end", its exit status)."""
        words = checked(words)
        until = time.monotonic() + timeout_s
        running = self.start(words, stdin, on_bytes, timeout_s)
        try:
            while True:
                left_s = until - time.monotonic()
                got = running.read(max(0.0, min(left_s, idle_s))) if left_s > 0 else None
                if got is None:
                    raise self._too_late(words, timeout_s if left_s <= idle_s else idle_s)
                if got[0] == "end":
                    break
                yield got
            status = running.status(max(0.0, until - time.monotonic()))
            if status is None:
                raise self._too_late(words, timeout_s)
            yield "end", status
        except DeadlineError:
            self.overdue()
            raise
        finally:
            running.close()

    def _too_late(self, words: Sequence[str], waited_s: float) -> DeadlineError:
        return DeadlineError(
            f"{self.name}: no answer from {readable(words[0], 60)} within {waited_s:g} s; gave up on it"
        )

    def _too_much(self, words: Sequence[str], limit_bytes: int, what: str = "") -> DeviceError:
        what = what or f"{readable(words[0], 60)} wrote more than"
        return DeviceError(f"{self.name}: {what} {limit_bytes} bytes; gave up on it")
