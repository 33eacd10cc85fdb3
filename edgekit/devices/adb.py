"""A device over the system's `adb`: a phone at a cable, or one that listens in the network."""

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from edgekit.core.device import Device
from edgekit.devices.call import ALIVE_COUNT, ALIVE_S, CONNECT_S
from edgekit.devices.conversation import Conversation, Running, Source
from edgekit.devices.process import start_process
from edgekit.devices.reported import Reported, new_mark, reporting_line
from edgekit.devices.said import readable
from edgekit.devices.transport import OnBytes
from edgekit.errors import DeadlineError, LoginError, UnreachableError, UsageError

SILENT_S = float(ALIVE_S * ALIVE_COUNT)
SERVER_S = 30.0
POLL_S = 0.05
_ADDRESS = re.compile(r".+:\d+")


def open_adb(device: Device, *, timeout_s: float = CONNECT_S) -> "AdbTransport":
    """A way to the phone whose serial number, or address:port, is `device.host`.

    Raises: UsageError if there is no adb here; LoginError if the phone does not trust this computer;
    UnreachableError, DeadlineError.
    """
    program = shutil.which("adb")
    if program is None:
        raise UsageError(f"{device.name}: there is no `adb` on this computer: install Android's platform tools")
    _adb(program, device.name, ("start-server",), SERVER_S)
    if _ADDRESS.fullmatch(device.host):
        _adb(program, device.name, ("connect", device.host), timeout_s)
    transport = AdbTransport(device.name, program, device.host)
    transport.wait_until_trusted(timeout_s)
    features = transport.ask("features", timeout_s)
    if "shell_v2" not in features.split():
        raise UnreachableError(f"{device.name}: its adb keeps no exit status: Android 7 or newer is needed")
    return transport


def _adb(program: str, name: str, words: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            (program, *words), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeadlineError(f"{name}: no answer from adb within {timeout_s:g} s") from None


class AdbTransport(Conversation):
    """A way through adb's server, which the user owns: nothing is held open between commands."""

    faults = frozenset({"cut", "stall"})

    def __init__(self, name: str, program: str, serial: str) -> None:
        super().__init__(name)
        self._program, self._serial = program, serial
        self._over = False

    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """As `Conversation.start`."""
        mark = new_mark()
        line = reporting_line(words, timeout_s, mark)
        if self._over:
            raise UnreachableError(f"{self.name}: the way is closed")
        command = (self._program, "-s", self._serial, "shell", "-T", line)
        process = start_process(self.name, command, stdin, on_bytes, cwd=Path("/"))
        return _Watched(Reported(self.name, words[0], process, mark, self._explain), self)

    def wait_until_trusted(self, timeout_s: float) -> None:
        """Returns once the phone is ready: it may be about to prove its key, or its owner about to say yes.

        Raises: as `open_adb`.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                self.ask("get-state", timeout_s)
                return
            except UnreachableError:
                if time.monotonic() > until:
                    raise
                time.sleep(POLL_S)

    def ask(self, what: str, timeout_s: float) -> str:
        """What adb says of the phone: "get-state", "features". Raises: as `open_adb`."""
        done = _adb(self._program, self.name, ("-s", self._serial, what), timeout_s)
        if done.returncode == 0:
            return done.stdout.decode(errors="replace")
        said = readable(done.stderr)
        if "unauthorized" in said:
            raise LoginError(f"{self.name}: the phone does not trust this computer yet: say yes on its screen")
        raise UnreachableError(f"{self.name}: cannot be reached ({said or 'adb ended without a word'})")

    def check_alive(self) -> None:
        """Returns if the phone itself answers: adb's server asks it nothing by itself. Raises: UnreachableError."""
        try:
            done = _adb(self._program, self.name, ("-s", self._serial, "shell", "true"), SILENT_S)
        except DeadlineError:
            self._over = True
            raise
        if done.returncode:
            self._over = True
            raise UnreachableError(f"{self.name}: the connection broke ({readable(done.stderr)})")

    def _explain(self, said: str) -> None:
        self.check_alive()

    def overdue(self) -> None:
        """Nothing to do: closing the client has ended the command."""

    def close(self) -> None:
        """As `Transport.close`."""
        self._over = True


class _Watched:
    """A running command; while it is silent, the phone is asked now and then whether it still lives."""

    def __init__(self, running: Running, way: AdbTransport) -> None:
        self._running, self._way = running, way

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """As `Running.read`. Raises: UnreachableError."""
        until = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, until - time.monotonic())
            got = self._running.read(min(left_s, ALIVE_S))
            if got is not None or left_s <= ALIVE_S:
                return got
            self._way.check_alive()

    def status(self, timeout_s: float) -> int | None:
        """As `Running.status`."""
        return self._running.status(timeout_s)

    def close(self) -> None:
        """As `Running.close`."""
        self._running.close()
