"""The way to a device, by what the inventory says of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.core.device import Device
from edgekit.devices.call import calling
from edgekit.devices.conversation import Conversation
from edgekit.errors import UsageError

HOPS = 4
"""A device that is reached through more than this many others is a mistake in the inventory."""


@contextmanager
def connect(device: Device) -> Iterator[Conversation]:
    """A transport to `device`, closed at the end of the block.

    Raises: HostKeyError, LoginError, UnreachableError, DeadlineError; UsageError where it is reached through a device
    that cannot pass it on, or the program that reaches it is not on this computer.
    """
    transport = _open(device)
    try:
        yield transport
    finally:
        transport.close()


def _open(device: Device) -> Conversation:
    match device.transport:
        case "local":
            from edgekit.devices.local import LocalTransport

            return LocalTransport(device.name)
        case "openssh":
            from edgekit.devices.openssh import open_openssh

            return open_openssh(device, jumps(device))
        case "adb":
            from edgekit.devices.adb import open_adb

            return open_adb(device)
        case "ssh":
            via = jumps(device)
            first = via[0] if via else device
            with calling(first.host, first.port) as call:  # the device gets ready while what speaks SSH is loaded
                from edgekit.devices.ssh import open_ssh

                return open_ssh(device, via, called=call)


def jumps(device: Device) -> tuple[Device, ...]:
    """The devices of the inventory that `device` is reached through, the nearest first.

    Raises: UsageError for one that cannot pass a connection on, or a circle of them.
    """
    found: list[Device] = []
    while device.jump is not None:
        hop = _registered(device.jump)
        if hop.transport not in ("ssh", "openssh"):
            raise UsageError(f"device {device.name!r}: jump {hop.name!r} is reached by {hop.transport}, not over SSH")
        found.insert(0, hop)
        if len(found) > HOPS:
            raise UsageError(f"device {device.name!r}: is reached through more than {HOPS} others")
        device = hop
    return tuple(found)


def _registered(name: str) -> Device:
    from edgekit.devices.inventory import get_device  # what it loads takes as long as logging in

    return get_device(name)


def host_keys_of(device: Device) -> tuple[str, ...]:
    """All host keys that `device` shows, for a person to look at; nobody is logged in on it and nothing is kept.

    Raises: UnreachableError, DeadlineError, UsageError; as `connect` for what it is reached through.
    """
    if device.transport == "openssh":
        from edgekit.devices.openssh import scan

        return scan(device, jumps(device))
    from edgekit.devices.ssh import enrol

    return enrol(device, jumps(device))


def python_of(device: Device) -> str:
    """The interpreter that measures on `device`; for this computer edgekit's own, unless another is named."""
    return sys.executable if device.transport == "local" and device.python == "python3" else device.python
