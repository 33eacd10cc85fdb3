"""A way to a device on which nothing runs but under a lease: the device itself asks for it before each command."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from edgekit.devices.conversation import Conversation, Running, Source
from edgekit.devices.scripts import ask, script_text
from edgekit.devices.transport import OnBytes, Transport
from edgekit.devices.words import checked
from edgekit.errors import DeviceError, LeaseError, StorageError

LOST = 93
"""The exit status with which a device refuses a command whose lease is lost."""

TAIL_BYTES = 4096

COVERED = 'sh -c "$1" lease.sh "$2" cover "$3" "$$" "$4" < /dev/null || exit; shift 4; exec "$@"'
"""The shell that asks becomes the command, so that the process written down in the lease is the command itself."""


class Leased(Conversation):
    """As the way it is made of, but each command is run by the device only while the lease is held.

    The lease holds for as long as a command runs, however long, and a ttl from when one started or the lease was
    renewed. It is renewed every third of a ttl, in a thread and only while no command is under way: a device that
    measures is left alone.
    """

    def __init__(self, way: Conversation, root: str, lease_id: str, ttl_s: int) -> None:
        super().__init__(way.name)
        self.faults, self._way, self._root, self._id, self._ttl_s = way.faults, way, root, lease_id, ttl_s
        self._change, self._running, self._renewing = threading.Condition(), 0, False
        self._over = threading.Event()

    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """As `Conversation.start`. Raises: LeaseError, from what runs, if somebody else took the device over."""
        covered = (
            "sh", "-c", COVERED, "lease.sh", script_text("lease"), self._root, self._id,
            str(math.ceil(timeout_s) + 1), *checked(words),
        )  # fmt: skip
        with self._change:
            self._change.wait_for(lambda: not self._renewing)
            self._running += 1
        try:
            return _Covered(self, self._way.start(covered, stdin, on_bytes, timeout_s))
        except BaseException:
            self.ended()
            raise

    def ended(self) -> None:
        """Called once for each command, when it is let go of."""
        with self._change:
            self._running -= 1

    def refused(self, status: int, told: bytes) -> bool:
        """Whether a command ended so because the device did not run it: the lease is lost."""
        return status == LOST and f"lease {self._id} is lost".encode() in told

    def trip_s(self) -> float:
        """As `Conversation.trip_s`."""
        return self._way.trip_s()

    def overdue(self) -> None:
        """As `Conversation.overdue`."""
        self._way.overdue()

    def close(self) -> None:
        """As `Transport.close`."""
        self._way.close()

    def joined(self, way: Conversation) -> "Leased":
        """Another way to the same device, under the same lease; it is this one that renews it."""
        return Leased(way, self._root, self._id, self._ttl_s)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renews the lease while the block runs, whenever nothing else is under way."""
        thread = threading.Thread(target=self._renew_until_over, name=f"lease of {self.name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._ttl_s / 3):
            with self._change:
                if self._running:
                    continue
                self._renewing = True
            try:
                ask(self._way, "lease", (self._root, "renew", self._id), doing="renewing the lease")
            except StorageError:
                continue  # there may be room later
            except DeviceError:
                return  # the next command meets what is wrong, and tells it
            finally:
                with self._change:
                    self._renewing = False
                    self._change.notify_all()


def beside(first: Transport, other: Conversation) -> Conversation:
    """`other`, which reaches the device that `first` reaches, under the lease that `first` is under, if it is."""
    return first.joined(other) if isinstance(first, Leased) else other


class _Covered:
    """A command that the device ran, or refused to."""

    def __init__(self, way: Leased, running: Running) -> None:
        self._way, self._running, self._told, self._closed = way, running, b"", False

    def read(self, timeout_s: float) -> tuple[Source, bytes] | None:
        """As `Running.read`."""
        got = self._running.read(timeout_s)
        if got is not None and got[0] == "err":
            self._told = (self._told + got[1])[-TAIL_BYTES:]
        return got

    def status(self, timeout_s: float) -> int | None:
        """As `Running.status`. Raises: LeaseError if the device did not run it."""
        status = self._running.status(timeout_s)
        if status is not None and self._way.refused(status, self._told):
            raise LeaseError(f"{self._way.name}: somebody else took the device over: nothing more was done there")
        return status

    def close(self) -> None:
        """As `Running.close`."""
        self._running.close()
        if not self._closed:
            self._closed = True
            self._way.ended()
