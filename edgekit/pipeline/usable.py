"""Which targets edgekit can build for and measure today: the others are data that waits for a back end or a runner."""

from edgekit.catalog import targets
from edgekit.core.target import Target
from edgekit.devices.runtimes import RUNTIMES, TOOLS
from edgekit.errors import TargetError
from edgekit.formats.names import format_names

THROUGH_A_MAC = ("coremltools-iphone",)
"""What measures on a phone that only a Mac with Xcode reaches."""


def usable_targets() -> tuple[Target, ...]:
    """The targets that edgekit can build for and measure."""
    return tuple(target for target in targets() if lacking(target) is None)


def lacking(target: Target) -> str | None:
    """What edgekit does not have for a target yet, in words; None if it has all."""
    if target.format not in format_names():
        return f"no back end for format {target.format} yet"
    if target.runtime in THROUGH_A_MAC:
        return "nothing that measures on an iPhone yet: it is reached through a Mac"
    if target.runtime not in RUNTIMES and target.runtime not in TOOLS:
        return f"nothing that measures with {target.runtime} yet"
    return None


def usable_words(target: Target) -> str:
    """Whether edgekit can build for a target and measure it, for a table.

    Most vendors' programs were only ever spoken to in their documented words: no such device was at hand.
    """
    tool = TOOLS.get(target.runtime)
    untried = tool is not None and tool.tried != "for real"
    return lacking(target) or ("yes; not tried on such a device" if untried else "yes")


def check_usable(target: Target) -> None:
    """Return if edgekit can build for a target and measure it. Raises: TargetError."""
    if (lack := lacking(target)) is not None:
        usable = ", ".join(t.name for t in usable_targets())
        raise TargetError(f"target {target.name}: there is {lack}; those that can be measured: {usable}")
