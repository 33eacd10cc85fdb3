"""This computer as a device: the same commands, run by its own shell."""

import io
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO, cast

from edgekit.devices.conversation import Conversation, Running, Source
from edgekit.devices.transport import OnBytes
from edgekit.devices.words import bounded_line
from edgekit.errors import DeviceError

BLOCK_BYTES = 1 << 16
SHELL = "/bin/sh"


class LocalTransport(Conversation):
    """Commands run as this user, in the home folder, each in a session of its own, so that all of it can be ended."""

    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """As `Conversation.start`; `on_bytes` is called once, for all of the input."""
        with _as_file(stdin) as (source, size):
            try:
                process = subprocess.Popen(
                    (SHELL, "-c", bounded_line(words, timeout_s)),
                    stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    cwd=Path.home(), start_new_session=True, bufsize=0,
                )  # fmt: skip
            except OSError as error:
                raise DeviceError(f"{self.name}: {SHELL} does not start: {error.strerror or error}") from None
        if on_bytes is not None and size:
            on_bytes(size)
        return _Process(self.name, words[0], process)

    def overdue(self) -> None:
        """Nothing to do: closing the command has ended it."""

    def close(self) -> None:
        """As `Transport.close`."""


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


class _Process:
    """A running process of this computer."""

    def __init__(self, name: str, program: str, process: subprocess.Popen[bytes]) -> None:
        self._name, self._program, self._process = name, program, process
        self._selector = selectors.DefaultSelector()
        self._selector.register(cast(BinaryIO, process.stdout), selectors.EVENT_READ, "out")
        self._selector.register(cast(BinaryIO, process.stderr), selectors.EVENT_READ, "err")

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """As `Running.read`."""
        while self._selector.get_map():
            ready = self._selector.select(timeout_s)
            if not ready:
                return None
            key = ready[0][0]
            if block := os.read(key.fd, BLOCK_BYTES):
                return key.data, block
            self._selector.unregister(key.fileobj)
        return "end", b""

    def status(self, timeout_s: float) -> int | None:
        """As `Running.status`."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
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
