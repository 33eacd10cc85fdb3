"""A dead peer noticed: one that is asked for an answer and gives none, though its network stack may still say hello."""

import threading
import time
from types import TracebackType

import paramiko

from edgekit.devices.dial import ALIVE_COUNT, ALIVE_S, hang_up

SILENT_S = ALIVE_S * ALIVE_COUNT


class Pulse:
    """Hangs up on a connection from which, though it was asked, nothing was heard for `SILENT_S`.

    Nothing is asked while something is heard: a long transfer over a slow link is no silence, and a board that is
    measured is left alone as long as it talks. TCP's own keep-alive does not see a stopped server or a dead machine
    behind a jump host.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport
        self._done = threading.Event()
        self._asker = threading.Thread(target=self._ask, daemon=True)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._asked_s: float | None = None

    def __enter__(self) -> None:
        self._asker.start()
        self._watcher.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        hang_up(self._transport)  # what blocks in it ends
        self._asker.join(5.0)
        self._watcher.join(5.0)

    def _silent_s(self) -> float:
        return time.monotonic() - float(self._transport.sock.heard_s)

    def _ask(self) -> None:
        while not self._done.wait(ALIVE_S):
            if self._silent_s() >= ALIVE_S:
                self._asked_s = time.monotonic()
                try:
                    self._transport.global_request("keepalive@openssh.com", wait=True)
                except (OSError, EOFError, paramiko.SSHException):
                    return
                self._asked_s = None

    def _watch(self) -> None:
        while not self._done.wait(1.0):
            asked_s = self._asked_s
            if asked_s is None:
                continue
            if min(self._silent_s(), time.monotonic() - asked_s) >= SILENT_S:
                hang_up(self._transport)
                return
