"""The way to a device, by what the inventory says of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.core.device import Device
from edgekit.devices.conversation import Conversation


@contextmanager
def connect(device: Device) -> Iterator[Conversation]:
    """A transport to `device`, closed at the end of the block.

    Raises: HostKeyError, LoginError, UnreachableError, DeadlineError.
    """
    transport = _open(device)
    try:
        yield transport
    finally:
        transport.close()


def _open(device: Device) -> Conversation:
    if device.transport == "local":
        from edgekit.devices.local import LocalTransport

        return LocalTransport(device.name)
    from edgekit.devices.ssh import open_ssh

    return open_ssh(device)


def python_of(device: Device) -> str:
    """The interpreter that measures on `device`; for this computer edgekit's own, unless another is named."""
    return sys.executable if device.transport == "local" and device.python == "python3" else device.python
