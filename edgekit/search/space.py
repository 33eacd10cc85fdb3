"""What the search may choose: a precision for each layer, a width for each channel group; and one such choice.

A form is quantized in one way: its layers are float or in one precision below it, the same for all of them. Where a
target holds several (int8 with scales of the calibration data, int8 with scales of the moment), each has forms of its
own, and they compete (docs/decisions/0029).
"""

from collections.abc import Container, Iterable, Mapping
from functools import cached_property
from typing import Literal

from msgspec import UNSET, UnsetType, structs

from edgekit.core.noun import Noun, digest
from edgekit.core.recipe import (
    Granularity,
    Importance,
    Precision,
    Prune,
    Quantize,
    Ranges,
    Recipe,
    Recover,
    Rounding,
    Step,
)
from edgekit.errors import UsageError

Fidelity = Literal["quick", "full"]
Widths = tuple[tuple[str, int], ...]
"""(group, channels kept) of every group, or of those that a context names."""
SHARES = (1.0, 0.75, 0.5, 0.25)
"""The shares of channels kept that the uniform forms take."""
STATIC: Precision = "int8"
"""The precision of a form that names no other."""


class LayerSpace(Noun, frozen=True, kw_only=True):
    """A layer: the precisions it may have, and the groups whose channels it reads and writes (None: fixed ones).

    `macs`, the multiply-adds of one call at full width, is a first guess of its time; 0 is "not known". `sort` is what
    layers have alike that a runtime has kernels for (convolution, linear); needed only to choose among precisions.
    """

    name: str
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    reads: str | None = None
    writes: str | None = None
    macs: int = 0
    sort: str | UnsetType = UNSET


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
    other: Precision | UnsetType = UNSET
    """The precision of the layers in `int8` where it is not int8 itself; left out else, so that the digests of points
    that ledgers keep stay as they are."""

    @property
    def precision(self) -> Precision:
        """What the layers in `int8` have; "int8" where there are none."""
        return STATIC if self.other is UNSET else self.other

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

    def point(
        self, int8: Iterable[str] = (), widths: Mapping[str, int] | None = None, precision: Precision | None = None
    ) -> Point:
        """The choice with these layers in `precision` and these groups at these widths; other groups are full.

        Without a precision it is the space's first.

        Raises: UsageError if the space does not allow it.
        """
        int8, widths, precision = set(int8), dict(widths or {}), precision or self.first
        chosen = Point(
            int8=tuple(name for name in self.layers_in(precision) if name in int8),
            widths=tuple((group.name, widths.pop(group.name, group.full)) for group in self.groups),
            other=UNSET if precision == STATIC or not int8 else precision,
        )
        wrong = int8 - set(chosen.int8) | set(widths)
        wrong |= {g.name for g, (_, w) in zip(self.groups, chosen.widths, strict=True) if w not in g.widths}
        if wrong:
            raise UsageError(f"search space: {', '.join(sorted(wrong))} cannot be chosen so")
        return chosen

    def at_share(self, share: float, int8: Iterable[str] = (), precision: Precision | None = None) -> Point:
        """Every group at its least width that keeps `share` of its channels; `int8` and `precision` as in `point`."""
        widths = {g.name: next(w for w in g.widths if w >= share * g.full or w == g.full) for g in self.groups}
        return self.point(int8, widths, precision)

    @cached_property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions below float that some layer may have."""
        return tuple(dict.fromkeys(p for layer in self.layers for p in layer.precisions if p != "fp32"))

    @property
    def first(self) -> Precision:
        """The precision of forms for which none is named."""
        return self.precisions[0] if self.precisions else STATIC

    @cached_property
    def int8_layers(self) -> tuple[str, ...]:
        """The layers that may have the first precision."""
        return self.layers_in(self.first)

    def layers_in(self, precision: Precision) -> tuple[str, ...]:
        """The layers that may have `precision`."""
        return tuple(layer.name for layer in self.layers if precision in layer.precisions)

    def only(self, precision: Precision, sorts: Container[object] | None = None) -> "Space":
        """The space without the other precisions; and with this one only for layers of these sorts, if given."""

        def allowed(layer: LayerSpace) -> tuple[Precision, ...]:
            some = precision in layer.precisions and (sorts is None or layer.sort in sorts)
            return ("fp32", precision) if some else ("fp32",)

        return structs.replace(self, layers=tuple(structs.replace(x, precisions=allowed(x)) for x in self.layers))

    @cached_property
    def uniforms(self) -> tuple[tuple[str, Point], ...]:
        """(name, point) of every uniform form, float first: each share of channels, all layers in each precision."""
        found: dict[Point, str] = {}
        for share in SHARES:
            for precision in (None, *self.precisions):
                point = self.at_share(share, self.layers_in(precision) if precision else (), precision)
                word = precision or "float"
                found.setdefault(point, word if share == 1 else f"width-{share:.2f}-{word}")
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
    granularity: Granularity = "channel",
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
        layers = tuple((name, point.precision) for name in point.int8)
        steps.append(Quantize(default="fp32", layers=layers, ranges=ranges, rounding=rounding, granularity=granularity))
    return Recipe(step=tuple(steps), seed=seed)
