"""Every error that edgekit raises on purpose: one line that says where, what was wanted, what was got and what to do.

Each is also the builtin that fits, so that a caller may catch either. `exit_code` is the row of design.md's table
that a command ends with. Nothing here carries a secret, and a message is never more than one line.
"""


class EdgekitError(Exception):
    """Root of edgekit's errors."""

    exit_code = 10

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class UsageError(EdgekitError, ValueError):
    """What the user wrote cannot be used: a missing file, a wrong key, an unknown name."""

    exit_code = 2


class ProjectError(UsageError):
    """A project file, or the functions that it names, is wrong."""


class TargetError(UsageError):
    """No such target, or the target cannot hold what was asked of it."""


class ModelError(EdgekitError, ValueError):
    """A model cannot be loaded, captured or run: the module, the op and the source line are named where known."""

    exit_code = 2


class MetricError(EdgekitError, ValueError):
    """An evaluation gives no usable figure: NaN, no samples, or another figure on each run."""

    exit_code = 2


class ConvertError(EdgekitError, RuntimeError):
    """A back end refuses a model: module, op, reason and, where there is one, the rewrite that helps."""


class ArtifactError(EdgekitError, ValueError):
    """An artifact is missing, damaged or does not compute what it should."""


class StoreError(EdgekitError, OSError):
    """The host's own store or ledger cannot be read or written."""


class MissingExtraError(EdgekitError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""

    exit_code = 2


class DeviceError(EdgekitError, RuntimeError):
    """A device answers and cannot do what was asked: no Python, too old a one, a runtime that refuses the model."""


class UnreachableError(DeviceError, ConnectionError):
    """A device cannot be reached, or the link to it broke."""

    exit_code = 4


class DeadlineError(UnreachableError, TimeoutError):
    """A device did not answer in time."""


class HostKeyError(UnreachableError):
    """A device's host key is unknown or is not the pinned one; nothing was sent."""


class LoginError(UnreachableError, PermissionError):
    """A device refuses the user or the key."""


class StorageError(DeviceError, OSError):
    """A device has no room, or its disk cannot be written."""

    exit_code = 8


class LeaseError(DeviceError):
    """Somebody else holds a device, or took it over; nothing more is done there."""

    exit_code = 6


class MeasureError(DeviceError):
    """A measurement has no usable result."""
