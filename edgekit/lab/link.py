"""A link to a device that can be slow, counted and cut: a relay on loopback.

`python -m edgekit.lab.link PORT [--delay-ms 25]` relays to that port until its stdin ends, and says, for each line of
it, the bytes that went towards it so far. What TCP does on a long way is not in it: the delay of each block is.
"""

import argparse
import contextlib
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

BLOCK = 1 << 16
FAR_BYTES = 16 << 20
"""What a long link holds on its way; a short one holds next to nothing."""


@dataclass
class Link:
    """A running relay. `up` counts the bytes that reached the device's end; it is cut once they reach `cut_at`."""

    port: int
    target: int
    delay_s: float = 0.0
    up: int = 0
    cut_at: int | None = None
    cuts: int = 0
    _sockets: set[socket.socket] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cut(self) -> None:
        """Every connection ends at once."""
        self.cut_at, self.cuts = None, self.cuts + 1
        with self._lock:
            for each in self._sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def serve(self, listener: socket.socket) -> None:
        """Takes connections until the listener is closed."""
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BLOCK)
            with self._lock:
                self._sockets |= {near, far}
            for source, sink, upward in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pump, args=(source, sink, upward), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, upward: bool) -> None:  # noqa: FBT001  of a thread
        """Passes bytes on, each block `delay_s` after it came."""
        waiting: deque[tuple[float, bytes]] = deque()
        limit = FAR_BYTES if self.delay_s else BLOCK
        more = threading.Condition()
        threading.Thread(target=self._deliver, args=(sink, waiting, more, upward), daemon=True).start()
        while True:
            try:
                block = source.recv(BLOCK)
            except OSError:
                block = b""
            with more:
                while sum(len(b) for _, b in waiting) > limit and block:
                    more.wait(0.1)
                waiting.append((time.monotonic() + self.delay_s, block))
                more.notify_all()
            if not block:
                source.close()
                return

    def _deliver(
        self,
        sink: socket.socket,
        waiting: "deque[tuple[float, bytes]]",
        more: threading.Condition,
        upward: bool,  # noqa: FBT001
    ) -> None:
        while True:
            with more:
                while not waiting:
                    more.wait()
                due, block = waiting.popleft()
                more.notify_all()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not block:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(block)
            except OSError:
                return
            if upward:
                with self._lock:
                    self.up += len(block)
                    cut = self.cut_at is not None and self.up >= self.cut_at
                if cut:
                    self.cut()


@contextlib.contextmanager
def link_to(port: int, delay_s: float = 0.0) -> Iterator[Link]:
    """A link to `port`, `delay_s` long each way; it ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(listener.getsockname()[1], port, delay_s)
        thread = threading.Thread(target=link.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield link
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            link.cut()


def main() -> None:
    """The command line: see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--delay-ms", type=float, default=0.0, help="each way")
    got = parser.parse_args()
    with link_to(got.port, got.delay_ms / 1e3) as link:
        sys.stdout.write(f"listening on {link.port}\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            sys.stdout.write(f"{link.up}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
