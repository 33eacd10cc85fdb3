"""What edgekit knows as data: targets and firmware profiles."""

from edgekit.catalog.firmware import firmware_of, get_profile, profiles
from edgekit.catalog.targets import default_target, fitting_targets, get_target, targets

__all__ = ["default_target", "firmware_of", "fitting_targets", "get_profile", "get_target", "profiles", "targets"]
