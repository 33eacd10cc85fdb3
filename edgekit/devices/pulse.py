"""A dead peer noticed: one that is asked for an answer and gives none, though its network stack may still say hello."""

import threading
import time
from types import TracebackType

from edgekit.devices.call import ALIVE_COUNT, ALIVE_S
from edgekit.devices.dial import hang_up
from edgekit.devices.lean import paramiko

SILENT_S = ALIVE_S * (ALIVE_COUNT + 1)
"""The other end is asked within two of these intervals, and has the others to answer."""

LOOK_S = 0.5


class Pulse:
    """Hangs up on a connection from which nothing was heard for `SILENT_S`, though it was asked.

    Nothing is asked while something is heard: a long transfer over a slow link is no silence, and a board that is
    measured is left alone as long as it talks. TCP's own keep-alive does not see a stopped server or a dead machine
    behind a jump host.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        self._transport = transport
        self._done = threading.Event()
        self._asker = threading.Thread(target=self._ask, daemon=True)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._asked = False

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
                self._asked = True
                try:
                    self._transport.global_request("keepalive@openssh.com", wait=True)
                except (OSError, EOFError, paramiko.SSHException):
                    return
                self._asked = False

    def _watch(self) -> None:
        while not self._done.wait(LOOK_S):
            if self._asked and self._silent_s() >= SILENT_S:
                hang_up(self._transport)
                return
