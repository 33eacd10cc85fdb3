"""One user of a device at a time, settled on the device itself, so that all who reach it agree; see ondevice/lease.sh.

What measures or installs holds a *lease*: it ends with its program, TTL_S after the program's last sign of life at the
latest, and with a reboot of the device. A person may *lock* a device for a time besides: then all that the same
user@host runs there goes on as ever, one at a time, and others are kept out.
"""

import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from getpass import getuser
from os import getpid
from typing import Literal

from edgekit.core.device import Device
from edgekit.devices.conversation import Conversation
from edgekit.devices.holders import Holder, holder, holder_words, worded
from edgekit.devices.leased import Leased
from edgekit.devices.marks import forget, is_orphan, marked
from edgekit.devices.scripts import answered, ask
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError, LeaseError

TTL_S = 60
POLL_S = 10.0
"""Seconds between two looks of who waits: somebody else measures meanwhile."""

ORPHAN_S = 15.0
"""Seconds that it may take until what a killed program of this computer had started on the device is gone as well."""

ORPHAN_POLL_S = 0.5

OnWait = Callable[[str], None]
"""Hears who holds the device that is waited for, each time that it is somebody else."""


def identity() -> str:
    """Who this is, to others who share a device: user@host."""
    return f"{getuser()}@{socket.gethostname()}"


@contextmanager
def lease(
    way: Conversation, device: Device, *, reason: str, wait_s: float = 0.0, on_wait: OnWait = lambda text: None,
    ttl_s: int = TTL_S, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Leased]:  # fmt: skip
    """A way on which this program, and nobody else, uses the device while the block runs; see `Leased`.

    What a killed program of this computer holds, or one that was cut off and gave up, is taken over once its command on
    the device is gone.

    Raises: LeaseError naming who holds it, if it is not free within `wait_s`; StorageError, StoreError; as
    `Transport.run`. Within the block, each command: LeaseError if the lease was taken away meanwhile.
    """
    lease_id = secrets.token_hex(8)
    arguments = (lease_id, worded(identity()), str(getpid()), worded(reason), str(ttl_s))
    with marked(lease_id):
        try:
            _taken(way, device, "take", arguments, wait_s, on_wait, clock, sleep)
            leased = Leased(way, device.root, lease_id, ttl_s)
            with leased.renewed():
                yield leased
        finally:
            with suppress(DeviceError):  # then it ends by itself, or is taken over as an orphan
                ask(way, "lease", (device.root, "release", lease_id), doing="giving the device back")
                forget(lease_id)


def lock(
    way: Transport, device: Device, *, for_s: int, reason: str = "", wait_s: float = 0.0,
    on_wait: OnWait = lambda text: None,
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
) -> Holder:  # fmt: skip
    """Keeps everybody but this user@host off the device, for `for_s` seconds from now on or until it starts anew.

    Locked again by the same one, it is longer, or shorter. What that one measures there does not stand in the way.

    Raises: as `lease`.
    """
    arguments = (secrets.token_hex(8), worded(identity()), str(getpid()), worded(reason), str(for_s))
    found = _taken(way, device, "lock", arguments, wait_s, on_wait, clock, sleep)
    made = _holders(found, way)[1]
    if made is None:
        raise DeviceError(f"{way.name}: says that it is locked, and not by whom")
    return made


def unlock(way: Transport, device: Device, *, whose: Literal["mine", "anyone's"] = "mine") -> tuple[Holder, ...]:
    """Ends the lock of this user@host, or whatever lock and lease there are; who had them. Empty: the device was free.

    Raises: LeaseError if there are only others' and `whose` is "mine"; as `Transport.run`.
    """
    force = "force" if whose == "anyone's" else "-"
    found = ask(way, "lease", (device.root, "unlock", worded(identity()), force), doing="unlocking")
    use, lock_ = _holders(found, way)
    match answered(found, "state", way):
        case "held":
            raise _refused(device, _in_the_way(found, way))
        case "freed":
            return tuple(h for h in (lock_, use if whose == "anyone's" else None) if h is not None)
        case _:
            return ()


def _taken(
    way: Transport, device: Device, verb: Literal["take", "lock"], arguments: tuple[str, ...],
    wait_s: float, on_wait: OnWait, clock: Callable[[], float], sleep: Callable[[float], None],
) -> dict[str, str]:  # fmt: skip
    """The device's answer once whoever holds it lets this one have it. The one wait of this module."""
    began, told, dead = clock(), "", "-"
    while True:
        words = (device.root, verb, *arguments, *((dead,) if verb == "take" else ()))
        found = ask(way, "lease", words, doing="asking for the device")
        if answered(found, "state", way) == "taken":
            return found
        other = _in_the_way(found, way)
        orphan = verb == "take" and not other.lock and is_orphan(other.id)
        if orphan and dead != other.id:
            dead = other.id
            continue
        left_s = began + max(wait_s, ORPHAN_S if orphan else 0.0) - clock()
        if left_s <= 0:
            raise _refused(device, other)
        if told != other.id:
            on_wait(f"{device.name} is {_words(other)}; waiting")
            told = other.id
        sleep(min(ORPHAN_POLL_S if orphan else POLL_S, left_s, other.left_s + 1.0))


def _refused(device: Device, other: Holder) -> LeaseError:
    return LeaseError(
        f"{device.name}: {_words(other)}; wait for it with --wait 10m, "
        f"or end it with `edgekit devices unlock {device.name} --force`"
    )


def _words(other: Holder) -> str:
    return holder_words(other, datetime.now())


def _holders(found: dict[str, str], way: Transport) -> tuple[Holder | None, Holder | None]:
    """Who uses the device, and who has locked it."""
    use, locked, now = (answered(found, key, way) for key in ("use", "lock", "now"))
    return holder(use, now, way.name), holder(locked, now, way.name, lock=True)


def _in_the_way(found: dict[str, str], way: Transport) -> Holder:
    """The one of the two that the device says must go first. Raises: DeviceError if it names none."""
    use, locked = _holders(found, way)
    other = locked if answered(found, "by", way) == "lock" else use
    if other is None:
        raise DeviceError(f"{way.name}: says that it is held, and not by whom")
    return other
