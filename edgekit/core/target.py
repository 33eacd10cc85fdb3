"""A target: format + runtime + hardware class, what it can hold, and what it requires of a device. Never a host."""

from typing import Literal

from edgekit.core.noun import Noun

Activations = Literal["int8-affine", "uint8-affine", "int8-symmetric", "float"]
Scales = Literal["any", "power-of-two"]


class Numerics(Noun, frozen=True, kw_only=True):
    """The arithmetic that the target runs fast: precisions, and the forms of int8."""

    precisions: tuple[str, ...] = ("fp32",)
    activations: Activations = "float"
    weights: Literal["int8-per-channel", "int8-per-tensor", "float"] = "float"
    scales: Scales = "any"
    reduce_range_without: tuple[str, ...] = ()
    """CPU features (all of them missing) that make 7-bit weights necessary, e.g. `vnni`."""


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
    compute_units: Literal["all", "cpu", "cpu-and-gpu", "cpu-and-ne"] | None = None
    """What of an Apple chip a model may use; None is for machines that leave no choice."""
    offered: Literal["by default", "by name"] = "by default"
    """Whether a device gets it where the user names no target, or only who asks for it."""
    numerics: Numerics = Numerics()
    limits: Limits = Limits()
    requires: tuple[tuple[str, str], ...] = ()
