"""A price that is a sum of terms: per layer by (precision, widths), per edge by both precisions, per group by width.

Fitted by Bayesian linear regression to whole forms (compiled prices, bytes, or measurements where a runtime shows no
ops). The scale of each family of terms is chosen by the evidence (MacKay, "Bayesian interpolation", 1992). What the
terms cannot say is caught by compiling a candidate and pricing its real ops.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from edgekit.core.recipe import Precision
from edgekit.search.space import LayerSpace, Point, Space

Array = NDArray[np.float64]
Cell = tuple[str, Precision, int, int]
"""(layer, precision, channels read, channels written); 0 for channels that no group holds."""
Joint = tuple[str, str, Precision, Precision, int]
"""(layer that makes a value, layer that takes it, their precisions, channels of the value)."""
Feature = tuple[str, tuple[object, ...], float, float]
"""(family, key, value, prior scale within the family)."""

_FREE = {"one": 1.0, "macs": 1.0}
_START = {"layer": 1.0, "area": 1.0, "edge width": 0.3, "cell": 0.1, "join": 0.2, "join area": 0.2, "noise": 0.01}
_FACTORS = (0.2, 0.5, 2.0, 5.0)


@dataclass(frozen=True)
class Table:
    """Additive terms; a key that is absent costs nothing."""

    constant: float = 0.0
    unary: Mapping[Cell, float] = field(default_factory=dict)
    pair: Mapping[Joint, float] = field(default_factory=dict)
    width: Mapping[tuple[str, int], float] = field(default_factory=dict)

    def price(self, space: Space, point: Point) -> float:
        """The sum of the terms that `point` has."""
        cells, joints = cells_of(space, point)
        return (
            self.constant
            + sum(self.unary.get(cell, 0.0) for cell in cells)
            + sum(self.pair.get(joint, 0.0) for joint in joints)
            + sum(self.width.get(kept, 0.0) for kept in point.widths)
        )


def precision_of(point: Point) -> Callable[[str], Precision]:
    """A layer's precision in `point`, by name."""
    int8, precision = set(point.int8), point.precision
    return lambda name: precision if name in int8 else "fp32"


def cells_of(space: Space, point: Point) -> tuple[list[Cell], list[Joint]]:
    """The cell of every layer and the joint of every edge in `point`.

    >>> space = Space(layers=(LayerSpace(name="a"), LayerSpace(name="b")), edges=(("a", "b"),))
    >>> cells_of(space, space.point(["a"]))
    ([('a', 'int8', 0, 0), ('b', 'fp32', 0, 0)], [('a', 'b', 'int8', 'fp32', 0)])
    """
    of, widths = precision_of(point), dict(point.widths)
    kept = {
        name: (widths.get(layer.reads or "", 0), widths.get(layer.writes or "", 0)) for name, layer in _by_name(space)
    }
    cells = [(layer.name, of(layer.name), *kept[layer.name]) for layer in space.layers]
    return cells, [(a, b, of(a), of(b), kept[a][1]) for a, b in space.edges]


def all_cells(space: Space, layer: LayerSpace) -> Iterator[Cell]:
    """Every cell that `layer` may have."""
    widths = {group.name: group.widths for group in space.groups}
    for precision in layer.precisions:
        for read in widths.get(layer.reads or "", (0,)):
            for written in widths.get(layer.writes or "", (0,)):
                if layer.reads is None or layer.reads != layer.writes or read == written:
                    yield layer.name, precision, read, written


def all_joints(space: Space) -> Iterator[Joint]:
    """Every joint of unlike precisions that an edge may have: one end is float, since a form has one other."""
    layers, widths = dict(_by_name(space)), {group.name: group.widths for group in space.groups}
    for a, b in space.edges:
        for p in layers[a].precisions:
            for q in layers[b].precisions:
                for width in widths.get(layers[a].writes or "", (0,)):
                    if p != q and "fp32" in (p, q):
                        yield a, b, p, q, width


def _by_name(space: Space) -> Iterator[tuple[str, LayerSpace]]:
    return ((layer.name, layer) for layer in space.layers)


class Terms:
    """The features of a space's points: which terms a form has, and how far each may lie from 0."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._full = {group.name: group.full for group in space.groups}
        self._layers = dict(_by_name(space))
        total = sum(layer.macs for layer in space.layers) or 1
        count = len(space.layers)
        known = any(layer.macs for layer in space.layers)
        self._share = {n: (layer.macs / total if known else 1 / count) for n, layer in self._layers.items()}
        self._scale = {name: 0.5 * share + 0.5 / count for name, share in self._share.items()}
        self._cached = cache(self._of_cell), cache(self._of_joint)

    def of_cell(self, cell: Cell) -> tuple[Feature, ...]:
        """The features of one layer's choice."""
        return self._cached[0](cell)

    def of_joint(self, joint: Joint) -> tuple[Feature, ...]:
        """The features of one edge's choice."""
        return self._cached[1](joint)

    def of_point(self, point: Point) -> list[Feature]:
        """The features of a whole form."""
        cells, joints = cells_of(self.space, point)
        found: list[Feature] = [("one", (), 1.0, 1.0)]
        found += [feature for cell in cells for feature in self.of_cell(cell)]
        return found + [feature for joint in joints for feature in self.of_joint(joint)]

    def _of_cell(self, cell: Cell) -> tuple[Feature, ...]:
        name, precision, read, written = cell
        layer, scale = self._layers[name], self._scale[name]
        in_share = read / self._full[layer.reads] if layer.reads else 1.0
        out_share = written / self._full[layer.writes] if layer.writes else 1.0
        area = out_share if layer.reads == layer.writes else in_share * out_share
        found: list[Feature] = [
            ("macs", (precision,), self._share[name] * area, 1.0),
            ("layer", (name, precision), 1.0, scale),
        ]
        if layer.reads or layer.writes:
            found += [
                ("area", (name, precision), area, scale),
                ("edge width", (name, precision, "in", read), 1.0, scale),
                ("edge width", (name, precision, "out", written), 1.0, scale),
                ("cell", cell, 1.0, scale),
            ]
        return tuple(found)

    def _of_joint(self, joint: Joint) -> tuple[Feature, ...]:
        a, b, p, q, width = joint
        if p == q:
            return ()
        scale = 1.0 / len(self._layers)
        share = width / self._full[self._layers[a].writes or ""] if width else 1.0
        return (("join", (a, b, p, q), 1.0, scale), ("join area", (a, b, p, q), share, scale))


class Fit:
    """The terms that best explain `values` at `points`; `noise` is each value's own standard deviation (same unit).

    Values are divided by their mean, so the families' scales are shares of it.
    """

    def __init__(
        self, space: Space, points: Sequence[Point], values: Sequence[float], noise: Sequence[float] | None = None
    ) -> None:
        self.space, self.terms = space, Terms(space)
        y = np.asarray(values, float)
        self._unit = float(np.mean(np.abs(y))) or 1.0
        self._own = (np.zeros(len(y)) if noise is None else np.asarray(noise, float) / self._unit) ** 2
        self._y = y / self._unit
        self._index: dict[tuple[str, tuple[object, ...]], int] = {}
        self._prior: list[float] = []
        self._x = self._matrix(points)
        self._families = np.array([family for family, _ in self._index])
        self._scales = self._choose_scales()
        variances = np.array(self._prior) ** 2 * np.array([self._scales[f] ** 2 for f in self._families])
        self._variances = variances
        gram = (self._x * variances) @ self._x.T + np.diag(self._own + self._scales["noise"] ** 2)
        self._inverse = np.linalg.inv(gram)
        self._weights = variances * (self._x.T @ (self._inverse @ self._y))

    def predict(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """(mean, standard deviation) at each point, in the values' unit."""
        known, prior = self._known(points)
        mean = known @ self._weights
        cross = (known * self._variances) @ self._x.T
        variance = prior + (known**2) @ self._variances - np.einsum("ij,jk,ik->i", cross, self._inverse, cross)
        return mean * self._unit, np.sqrt(np.maximum(variance, 1e-12)) * self._unit

    @cached_property
    def table(self) -> Table:
        """The terms of every choice, for a solver."""
        weights = {key: float(self._weights[i]) * self._unit for key, i in self._index.items()}

        def total(features: Sequence[Feature]) -> float:
            return sum(weights.get((family, key), 0.0) * value for family, key, value, _ in features)

        return Table(
            constant=weights[("one", ())],
            unary={
                c: total(self.terms.of_cell(c)) for layer in self.space.layers for c in all_cells(self.space, layer)
            },
            pair={joint: total(self.terms.of_joint(joint)) for joint in all_joints(self.space)},
        )

    def _matrix(self, points: Sequence[Point]) -> Array:
        rows = [self.terms.of_point(point) for point in points]
        for row in rows:
            for family, key, _, scale in row:
                if (family, key) not in self._index:
                    self._index[(family, key)] = len(self._index)
                    self._prior.append(scale)
        x = np.zeros((len(rows), len(self._index)))
        for i, row in enumerate(rows):
            for family, key, value, _ in row:
                x[i, self._index[(family, key)]] += value
        return x

    def _known(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """The features that were seen, and the prior variance of those that were not."""
        x, prior = np.zeros((len(points), len(self._index))), np.zeros(len(points))
        for i, point in enumerate(points):
            for family, key, value, scale in self.terms.of_point(point):
                if (family, key) in self._index:
                    x[i, self._index[(family, key)]] += value
                else:
                    prior[i] += (value * scale * self._scales.get(family, 1.0)) ** 2
        return x, prior

    def _choose_scales(self) -> dict[str, float]:
        """Each family's scale: two passes of coordinate ascent on the log evidence."""
        weighted = self._x * np.array(self._prior)
        grams = {
            family: weighted[:, self._families == family] @ weighted[:, self._families == family].T
            for family in (*_FREE, *_START)
            if family in self._families
        }
        scales = {family: scale for family, scale in (_FREE | _START).items() if family in grams or family == "noise"}
        best = self._evidence(grams, scales)
        for _ in range(2):
            for family in (f for f in scales if f not in _FREE):
                for factor in _FACTORS:
                    tried = scales | {family: max(scales[family] * factor, 1e-3 if family == "noise" else 1e-4)}
                    if (evidence := self._evidence(grams, tried)) > best + 1e-9:
                        best, scales = evidence, tried
        return scales

    def _evidence(self, grams: Mapping[str, Array], scales: Mapping[str, float]) -> float:
        gram = np.diag(self._own + scales["noise"] ** 2)
        for family, part in grams.items():
            gram = gram + scales[family] ** 2 * part
        root = np.linalg.cholesky(gram)
        half = np.linalg.solve(root, self._y)
        return float(-0.5 * half @ half - np.log(np.diag(root)).sum())
