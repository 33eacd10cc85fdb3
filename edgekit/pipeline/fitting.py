"""Which target a device gets where the user names none."""

from edgekit.catalog import default_target
from edgekit.core.device import Device
from edgekit.core.target import Target
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.pipeline.usable import usable_targets


def fitting_target(device: Device, format: str = "onnx") -> Target:  # noqa: A002
    """The target of `format` that asks most of the device, among those it can run and edgekit can measure.

    Raises: TargetError if there is none; UnreachableError, DeviceError.
    """
    with connect(device) as transport:
        return default_target(gather(transport, device), format, usable_targets())
