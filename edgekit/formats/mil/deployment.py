"""What Core ML has had since which of Apple's systems: kinds of models, precisions, forms of weights."""

from edgekit.core.target import Deployment
from edgekit.formats.mil.storing import Held

DEFAULT: Deployment = "iOS17"
_LEVELS: dict[Deployment, int] = {
    "iOS13": 13, "iOS14": 14, "iOS15": 15, "iOS16": 16, "iOS17": 17, "iOS18": 18, "macOS13": 16, "macOS14": 17,
    "macOS15": 18,
}  # fmt: skip
"""A deployment target as the number of its iOS: a macOS has what the iOS of its year has."""
PROGRAMS = 15
"""ML programs begin here; before it there are neural networks only."""
BLOCKS = 18
"""Weights in blocks, in 4 bits, and several forms at once begin here."""
_SINCE = {"fp32": 15, "fp16": 15, "int8-weights": 16, "int8": 17, "int4-weights": 18}
"""The level from which on an ML program holds a precision."""
_NETWORKS = ("fp32", "fp16", "int8-weights")
"""The precisions of neural networks: what is fewer bits there is stored so, and computed in float."""


def level_of(deployment: Deployment | None) -> int:
    """The number of the iOS that has all that a deployment target has."""
    return _LEVELS[deployment or DEFAULT]


def is_network(deployment: Deployment | None) -> bool:
    """Whether a model for it is a neural network, no ML program."""
    return level_of(deployment) < PROGRAMS


def system(level: int) -> str:
    """Both names of a level.

    >>> system(13), system(18)
    ('iOS 13 (macOS 10.15)', 'iOS 18 (macOS 15)')
    """
    return f"iOS {level} (macOS {'10.15' if level == 13 else level - 3})"


def lacking(precision: str, deployment: Deployment | None) -> str | None:
    """Why a model for this deployment target cannot hold a precision, in words; None if it can.

    >>> lacking("int4-weights", "iOS16")
    'Core ML holds int4-weights from iOS 18 (macOS 15) on'
    >>> lacking("int8", "macOS14") is None
    True
    """
    level = level_of(deployment)
    if precision not in _SINCE:
        return f"Core ML has no {precision}"
    held = precision in _NETWORKS if level < PROGRAMS else level >= _SINCE[precision]
    return None if held else f"Core ML holds {precision} from {system(_SINCE[precision])} on"


def held_forms(deployment: Deployment | None) -> Held:
    """The forms of weights that an ML program for this deployment target holds."""
    level = level_of(deployment)
    if level < 16:
        return Held()
    if level < BLOCKS:
        return Held(palette_bits=(1, 2, 4, 6, 8), sparse=True)
    return Held(palette_bits=(1, 2, 3, 4, 6, 8), blocks=True, sparse=True, joint=True)
