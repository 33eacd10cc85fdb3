"""The price of an op on a class of device, and a layer's loss by choice."""

from typing import Literal

from edgekit.core.noun import Noun


class OpSignature(Noun, frozen=True, kw_only=True):
    """An op as a runtime compiled it: kind, (dtype, shape) of each input that is not a scalar, and attributes."""

    kind: str
    inputs: tuple[tuple[str, tuple[int, ...]], ...]
    attributes: tuple[tuple[str, str], ...] = ()


class OpPrice(Noun, frozen=True, kw_only=True):
    """Seconds of one call of an op; `low_s` and `high_s` bound it at 95 %."""

    signature: OpSignature
    seconds: float
    low_s: float
    high_s: float
    source: Literal["trace", "farm"]


class TracedOp(Noun, frozen=True, kw_only=True):
    """A node of a compiled graph in a trace: its name there, its signature, the median seconds of a call."""

    name: str
    signature: OpSignature
    seconds: float


class Sensitivity(Noun, frozen=True, kw_only=True):
    """The loss that one choice for one layer or group brings, all else float and full."""

    layer: str
    choice: str
    loss: float
