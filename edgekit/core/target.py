"""A target: format + runtime + hardware class, what it can hold, and what it requires of a device. Never a host."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec

from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision
from edgekit.errors import TargetError

Activations = Literal["int8-affine", "uint8-affine", "int8-symmetric", "float"]
Scales = Literal["any", "power-of-two"]


class Numerics(Noun, frozen=True, kw_only=True):
    """The arithmetic that the target runs fast: precisions, and the forms of int8."""

    precisions: tuple[Precision, ...] = ("fp32",)
    activations: Activations = "float"
    weights: Literal["int8-per-channel", "int8-per-tensor", "float"] = "float"
    scales: Scales = "any"
    reduce_range_without: tuple[str, ...] = ()
    """CPU features (all of them missing) that make 7-bit weights necessary, e.g. `vnni`."""
    int4_group: Annotated[int, msgspec.Meta(ge=2)] = 32
    """Input channels that share the scale of a 4-bit weight; where they do not divide a layer's, all of them do."""


def check_precisions(wanted: Iterable[Precision], numerics: Numerics) -> None:
    """Returns if the target has all that is wanted.

    Raises: TargetError naming the first that it lacks.
    """
    if lacking := sorted(set(wanted) - set(numerics.precisions)):
        raise TargetError(f"{lacking[0]} was asked for, and the target holds {', '.join(numerics.precisions)}")


class Limits(Noun, frozen=True, kw_only=True):
    """What a file may hold; None is no limit. `channel_multiple` is a first guess that measurement overrules."""

    channel_multiple: int = 1
    opset: int | None = None
    ir_version: int | None = None


class Target(Noun, frozen=True, kw_only=True):
    """One file of targets/; `name` is its stem, `requires` is (key, version prefix or exact word) pairs."""

    schema: int = 1
    name: str
    title: str
    format: str
    runtime: str
    build: Literal["host", "device"] = "host"
    dla_core: int | None = None
    """The core of NVIDIA's DLA that an engine is built for; None is the GPU."""
    numerics: Numerics = Numerics()
    limits: Limits = Limits()
    requires: tuple[tuple[str, str], ...] = ()
