"""What the search may choose: a precision for each layer, a width for each channel group; and one such choice."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Literal

from edgekit.core.noun import Noun, digest
from edgekit.core.recipe import Importance, Precision, Prune, Quantize, Ranges, Recipe, Recover, Rounding, Step
from edgekit.errors import UsageError

Fidelity = Literal["quick", "full"]
Widths = tuple[tuple[str, int], ...]
"""(group, channels kept) of every group, or of those that a context names."""
SHARES = (1.0, 0.75, 0.5, 0.25)
"""The shares of channels kept that the uniform forms take."""


class LayerSpace(Noun, frozen=True, kw_only=True):
    """A layer: the precisions it may have, and the groups whose channels it reads and writes (None: fixed ones).

    `macs`, the multiply-adds of one call at full width, is a first guess of its time; 0 is "not known".
    """

    name: str
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    reads: str | None = None
    writes: str | None = None
    macs: int = 0


class GroupSpace(Noun, frozen=True, kw_only=True):
    """Channels that are removed together: the widths it may have, ascending; the last is `full`."""

    name: str
    widths: tuple[int, ...]
    full: int


class Point(Noun, frozen=True, kw_only=True):
    """One choice for all layers and groups: the int8 layers and every group's width, both in the space's order.

    Made by `Space.point`, so that equal choices are equal values. Hashable.
    """

    int8: tuple[str, ...] = ()
    widths: tuple[tuple[str, int], ...] = ()

    @property
    def digest(self) -> str:
        """Equal in any process for equal points."""
        return digest("point", self)


class Space(Noun, frozen=True, kw_only=True, dict=True):
    """Layers in order of execution, the groups, and the edges: (layer that makes a value, layer that takes it).

    Raises: UsageError if a name is missing or twice, or a group's widths do not ascend to its full width.
    """

    layers: tuple[LayerSpace, ...]
    groups: tuple[GroupSpace, ...] = ()
    edges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        groups = {group.name for group in self.groups}
        if not names or len(set(names)) < len(names) or len(groups) < len(self.groups):
            raise UsageError(f"search space: want layers and groups with a name each, got {names}, {sorted(groups)}")
        for layer in self.layers:
            if {layer.reads, layer.writes} - groups - {None}:
                raise UsageError(f"search space: layer {layer.name} reads or writes a group that is not in the space")
            if not layer.precisions or layer.precisions[0] != "fp32":
                raise UsageError(f"search space: layer {layer.name} must allow fp32 first, got {layer.precisions}")
        for group in self.groups:
            if group.widths != tuple(sorted(set(group.widths))) or not group.widths or group.widths[-1] != group.full:
                raise UsageError(f"search space: group {group.name}: widths must ascend to {group.full}")
        for edge in self.edges:
            if set(edge) - set(names):
                raise UsageError(f"search space: edge {edge} names a layer that is not in the space")

    @cached_property
    def float_form(self) -> Point:
        """Everything float and full."""
        return self.point()

    def point(self, int8: Iterable[str] = (), widths: Mapping[str, int] | None = None) -> Point:
        """The choice with these layers in int8 and these groups at these widths; other groups are full.

        Raises: UsageError if the space does not allow it.
        """
        int8, widths = set(int8), dict(widths or {})
        chosen = Point(
            int8=tuple(layer.name for layer in self.layers if layer.name in int8 and "int8" in layer.precisions),
            widths=tuple((group.name, widths.pop(group.name, group.full)) for group in self.groups),
        )
        wrong = int8 - set(chosen.int8) | set(widths)
        wrong |= {g.name for g, (_, w) in zip(self.groups, chosen.widths, strict=True) if w not in g.widths}
        if wrong:
            raise UsageError(f"search space: {', '.join(sorted(wrong))} cannot be chosen so")
        return chosen

    def at_share(self, share: float, int8: Iterable[str] = ()) -> Point:
        """Every group at its least width that keeps `share` of its channels."""
        return self.point(
            int8, {g.name: next(w for w in g.widths if w >= share * g.full or w == g.full) for g in self.groups}
        )

    @cached_property
    def int8_layers(self) -> tuple[str, ...]:
        """The layers that may be int8."""
        return tuple(layer.name for layer in self.layers if "int8" in layer.precisions)

    @cached_property
    def uniforms(self) -> tuple[tuple[str, Point], ...]:
        """(name, point) of every uniform form, float first: each share of channels, all float and all int8."""
        found: dict[Point, str] = {}
        for share in SHARES:
            for suffix, int8 in (("float", ()), ("int8", self.int8_layers)):
                name = suffix if share == 1 else f"width-{share:.2f}-{suffix}"
                found.setdefault(self.at_share(share, int8), name)
        return tuple((name, point) for point, name in found.items())

    def name(self, point: Point) -> str:
        """A short name for people: a uniform form's, else `mix-` and the start of its digest."""
        return next((name for name, uniform in self.uniforms if uniform == point), f"mix-{point.digest[:8]}")

    def is_uniform(self, point: Point) -> bool:
        """Whether it is one choice for all layers and one share for all groups."""
        return any(uniform == point for _, uniform in self.uniforms)

    def pruned(self, point: Point) -> tuple[tuple[str, int], ...]:
        """The (group, width) that are below full."""
        return tuple(kept for g, kept in zip(self.groups, point.widths, strict=True) if kept[1] < g.full)


def to_recipe(
    space: Space,
    point: Point,
    fidelity: Fidelity = "full",
    *,
    epochs: float = 1.0,
    ranges: Ranges = "minmax",
    rounding: Rounding = "nearest",
    importance: Importance = "l2",
    seed: int = 0,
) -> Recipe:
    """The recipe that makes `point`; "quick" re-estimates BatchNorm of what was pruned and does not fine-tune.

    Where nothing is pruned both fidelities give the same recipe.

    >>> space = Space(layers=(LayerSpace(name="a"), LayerSpace(name="b")))
    >>> [step.layers for step in to_recipe(space, space.point(["b"])).step]
    [(('b', 'int8'),)]
    """
    steps: list[Step] = []
    if pruned := space.pruned(point):
        steps += [
            Prune(importance=importance, widths=pruned),
            Recover(epochs=epochs if fidelity == "full" else 0.0),
        ]
    if point.int8:
        layers: tuple[tuple[str, Precision], ...] = tuple((name, "int8") for name in point.int8)
        steps.append(Quantize(default="fp32", layers=layers, ranges=ranges, rounding=rounding))
    return Recipe(step=tuple(steps), seed=seed)
