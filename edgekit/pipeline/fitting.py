"""Which target a device gets where the user names none."""

from collections.abc import Sequence

from edgekit.catalog import default_target, fitting_targets
from edgekit.core.device import Device, Facts
from edgekit.core.target import Target
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.runtimes import PROGRAMS
from edgekit.pipeline.usable import usable_targets


def fitting_target(device: Device, format: str | None = None) -> Target:  # noqa: A002
    """The target of `format` that asks most of the device, among those it can run and edgekit can measure.

    Without a format it is ONNX's, but on a device without Python, where nothing drives that: `without_python`.

    Raises: TargetError if there is none; UnreachableError, DeviceError.
    """
    with connect(device) as transport:
        facts = gather(transport, device)
    usable = usable_targets()
    if format is None and facts.python is None and (found := without_python(facts, usable)) is not None:
        return found
    return default_target(facts, format or "onnx", usable)


def without_python(facts: Facts, among: Sequence[Target]) -> Target | None:
    """The target that asks most of a device, of those that a program of the device runs; None if there is none."""
    fitting = fitting_targets(facts, among)
    found = [t for t in fitting if t.offered == "by default" and t.runtime in PROGRAMS]
    return max(found, key=lambda target: (len(target.requires), target.name), default=None)
