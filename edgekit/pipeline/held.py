"""A device that is this program's alone: the one way by which the pipeline measures and installs."""

from collections.abc import Iterator
from contextlib import contextmanager

from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.lease import lease
from edgekit.devices.transport import Transport
from edgekit.pipeline.events import Event, Listener, silent


@contextmanager
def held(device: Device, reason: str, *, wait_s: float = 0.0, listen: Listener = silent) -> Iterator[Transport]:
    """A way to `device` while nobody else measures or installs there; `reason` is what others are told meanwhile.

    Raises: LeaseError naming who has it, if it is not free within `wait_s`; as `connect` and `lease`.
    """

    def waiting(text: str) -> None:
        listen(Event(stage="device", text=text))

    with connect(device) as way, lease(way, device, reason=reason, wait_s=wait_s, on_wait=waiting) as transport:
        yield transport
