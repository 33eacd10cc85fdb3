"""A target: format + runtime + hardware class, what it can hold, and what it requires of a device. Never a host."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import msgspec

from edgekit.core.model import TensorSpec
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision
from edgekit.errors import TargetError

Activations = Literal["int8-affine", "uint8-affine", "int8-symmetric", "float"]
Scales = Literal["any", "power-of-two"]
Deployment = Literal["iOS13", "iOS14", "iOS15", "iOS16", "iOS17", "iOS18", "macOS13", "macOS14", "macOS15"]


class Numerics(Noun, frozen=True, kw_only=True):
    """The arithmetic that the target runs fast: precisions, and the forms of int8."""

    precisions: tuple[Precision, ...] = ("fp32",)
    activations: Activations = "float"
    weights: Literal["int8-per-channel", "int8-per-channel-convs", "int8-per-tensor", "float"] = "float"
    """`int8-per-channel-convs`: a convolution's weights have a scale a channel, a linear layer's have one for all."""
    scales: Scales = "any"
    reduce_range_without: tuple[str, ...] = ()
    """CPU features (all of them missing) that make 7-bit weights necessary, e.g. `vnni`."""
    lacks: tuple[tuple[str, str], ...] = ()
    """(precision, why the target does not hold it) pairs, for whoever asks for one of them."""
    int4_group: Annotated[int, msgspec.Meta(ge=2)] = 32
    """Input channels that share the scale of a 4-bit weight; where they do not divide a layer's, all of them do."""
    int4_grouped: Literal["all", "pointwise"] = "all"
    """`pointwise`: only linear layers and convolutions of one place; of others all input channels share a scale."""


def check_precisions(wanted: Iterable[Precision], numerics: Numerics) -> None:
    """Returns if the target has all that is wanted.

    Raises: TargetError naming the first that it lacks.
    """
    if lacking := sorted(set(wanted) - set(numerics.precisions)):
        why = dict(numerics.lacks).get(lacking[0])
        holds = ", ".join(numerics.precisions)
        raise TargetError(f"{lacking[0]} was asked for, and the target holds {holds}{f': {why}' if why else ''}")


class Limits(Noun, frozen=True, kw_only=True):
    """What a file may hold; None is no limit. `channel_multiple` is a first guess that measurement overrules.

    `dynamic`: sizes of inputs may stay free.
    """

    channel_multiple: int = 1
    dynamic: bool = False
    opset: int | None = None
    ir_version: int | None = None
    deployment: Deployment | None = None
    """The oldest of Apple's systems that must load a Core ML model; before iOS 15 it is a neural network."""


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
    accelerator: Literal["edgetpu"] | None = None
    """What the format's file is compiled for by a compiler of the user's; None is what the format runs on by itself."""
    compute_units: Literal["all", "cpu", "cpu-and-gpu", "cpu-and-ne"] | None = None
    """What of an Apple chip a model may use; None is for machines that leave no choice."""
    offered: Literal["by default", "by name"] = "by default"
    """Whether a device gets it where the user names no target, or only who asks for it."""
    numerics: Numerics = Numerics()
    limits: Limits = Limits()
    requires: tuple[tuple[str, str], ...] = ()


def check_free(target: Target, inputs: Sequence[TensorSpec]) -> None:
    """Return if the target's files can take `inputs` as they are.

    Raises: TargetError naming a size that cannot be free there, and what to do.
    """
    free = next(((tensor, axis) for tensor in inputs for axis in tensor.free), None)
    if free is not None and not target.limits.dynamic:
        tensor, axis = free
        raise TargetError(
            f"target {target.name}: its files have fixed sizes, and {axis.name} (axis {axis.axis} of {tensor.name}) is "
            f"free: fix it: without it among the model's dynamic sizes it is {tensor.shape[axis.axis]}, the example's"
        )
