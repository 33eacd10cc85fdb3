"""A process of this computer as a running command: the command itself, or the client that runs it elsewhere."""

import io
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO, cast

from edgekit.devices.conversation import Source
from edgekit.devices.transport import OnBytes
from edgekit.errors import DeviceError

BLOCK_BYTES = 1 << 16
LOOK_S = 0.25
"""How often a process that reads its input is asked how far it is."""


def start_process(
    name: str,
    words: Sequence[str],
    stdin: bytes | BinaryIO | None,
    on_bytes: OnBytes | None,
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    program: str | None = None,
) -> "Process":
    """A process in a session of its own, so that all of it can be ended; its input is a file, which it reads itself.

    `program` is what an error calls it, by default its first word.

    Raises: DeviceError if it cannot be started.
    """
    with _as_file(stdin) as (source, left):
        try:
            process = subprocess.Popen(
                words, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=env,
                start_new_session=True, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            raise DeviceError(f"{name}: {words[0]} does not start: {error.strerror or error}") from None
        progress = _Progress(source, left, on_bytes) if on_bytes is not None and left else None
    return Process(name, program or words[0], process, progress)


@contextmanager
def _as_file(stdin: bytes | BinaryIO | None) -> Iterator[tuple[BinaryIO, int]]:
    """The input of a command as a file of the system, at its place, and the bytes left in it."""
    if stdin is not None and not isinstance(stdin, bytes):
        with suppress(UnsupportedOperation, AttributeError):
            start = os.lseek(stdin.fileno(), stdin.tell(), os.SEEK_SET)
            yield stdin, os.fstat(stdin.fileno()).st_size - start
            return
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(io.BytesIO(stdin or b"") if stdin is None or isinstance(stdin, bytes) else stdin, file)
        size = file.tell()
        file.seek(0)
        yield cast(BinaryIO, file), size


class _Progress:
    """How far a process has read its input: the place in an open file is shared with whoever inherited it."""

    def __init__(self, source: BinaryIO, left: int, on_bytes: OnBytes) -> None:
        self._on_bytes = on_bytes
        self._file = os.dup(source.fileno())
        self._place = os.fstat(self._file).st_size - left

    def tell(self) -> None:
        """Says how much was read since the last call."""
        place = os.lseek(self._file, 0, os.SEEK_CUR)
        if place > self._place:
            self._on_bytes(place - self._place)
            self._place = place

    def close(self) -> None:
        """Lets go of the file."""
        os.close(self._file)


class Process:
    """A `Running` command: what it writes and its exit status are those of a process of this computer."""

    def __init__(
        self, name: str, program: str, process: subprocess.Popen[bytes], progress: _Progress | None = None
    ) -> None:
        self._name, self._program, self._process, self._progress = name, program, process, progress
        self._selector = selectors.DefaultSelector()
        self._selector.register(cast(BinaryIO, process.stdout), selectors.EVENT_READ, "out")
        self._selector.register(cast(BinaryIO, process.stderr), selectors.EVENT_READ, "err")

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """As `Running.read`."""
        until = time.monotonic() + timeout_s
        while self._selector.get_map():
            left_s = max(0.0, until - time.monotonic())
            ready = self._selector.select(left_s if self._progress is None else min(left_s, LOOK_S))
            if self._progress is not None:
                self._progress.tell()
            if ready:
                key = ready[0][0]
                if block := os.read(key.fd, BLOCK_BYTES):
                    return key.data, block
                self._selector.unregister(key.fileobj)
            elif time.monotonic() >= until:
                return None
        return "end", b""

    def status(self, timeout_s: float) -> int | None:
        """As `Running.status`."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        if self._progress is not None:
            self._progress.tell()
        if status < 0:
            raise DeviceError(f"{self._name}: {self._program} was killed there ({signal.Signals(-status).name})")
        return status

    def close(self) -> None:
        """As `Running.close`: ends the process and all it has started."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdout, self._process.stderr):
            cast(BinaryIO, pipe).close()
        if self._progress is not None:
            self._progress.close()
            self._progress = None
