"""What every way to a device promises: run words there, send and fetch files, and end in time.

A command is a list of words; no shell of the device sees them unquoted. Its working directory is the user's home, and
so are relative paths meant, which are POSIX on every device. What comes back is bounded, and is the device's word:
pass it through `edgekit.devices.said.readable` before it reaches a terminal.
"""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from edgekit.core.noun import Noun

LIMIT_BYTES = 16 << 20
"""Bytes of output, stdout and stderr each, that `run` takes before it gives up on a command."""

STREAM_LIMIT_BYTES = 256 << 20
"""Bytes of stdout that `stream` takes in all."""

OnBytes = Callable[[int], None]
"""Called with the bytes sent since the last call, perhaps from another thread."""


class Completed(Noun, frozen=True, kw_only=True):
    """A command that ended by itself: its exit status, 0 to 255, and what it wrote."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""


class Transport(Protocol):
    """A way to one device; one call at a time. Every call ends: with its result, or with an error within its deadline.

    `faults` are the things that can befall the way itself: "cut" (the other end goes away), "stall" (it goes silent).
    After a DeadlineError or an UnreachableError the way may be closed: connect again. All methods raise:

    - DeadlineError: no end, or no progress, in time; the device ends the command itself, if it has a `timeout`
    - UnreachableError: the way broke
    - DeviceError: the command was killed, or wrote more than it may
    - UsageError: no words, or a NUL byte in one
    """

    @property
    def name(self) -> str:
        """The device's name."""

    @property
    def faults(self) -> frozenset[str]:
        """What can befall this way: see above."""

    def run(
        self,
        words: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | BinaryIO | None = None,
        limit_bytes: int = LIMIT_BYTES,
        on_bytes: OnBytes | None = None,
    ) -> Completed:
        """The end of a command, whatever its exit status; 127 if there is no such program."""

    def stream(
        self,
        words: Sequence[str],
        *,
        timeout_s: float,
        idle_s: float,
        stdin: bytes | BinaryIO | None = None,
        limit_bytes: int = STREAM_LIMIT_BYTES,
    ) -> Generator[bytes, None, None]:
        """The lines that a command writes, as they come, without their newline.

        `timeout_s` bounds the whole, `idle_s` the wait for any output. To stop early, close the iterator.

        Raises: besides the above, DeviceError with the end of its stderr if its exit status is not 0.
        """

    def put(self, source: Path, target: str, *, timeout_s: float, on_bytes: OnBytes | None = None) -> None:
        """Writes a file of the host to `target`, whose folder exists.

        A broken `put` leaves a part of it: use `edgekit.devices.push` for what must be whole.

        Raises: besides the above, StorageError with the device's own words; OSError if `source` cannot be read.
        """

    def get(self, source: str, target: Path, *, timeout_s: float, limit_bytes: int = LIMIT_BYTES) -> None:
        """Writes a file of the device to `target`, whole or not at all."""

    def trip_s(self) -> float:
        """About how long a round trip to the device takes, in seconds."""

    def close(self) -> None:
        """Ends the way; calling it again does nothing. Raises nothing."""
