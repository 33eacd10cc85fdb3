"""What a form will lose, before it is trained and scored: sums of sensitivities, mapped to true drops by rank.

Losses of single changes do not add up in value but they do in rank, so the sum is mapped to the drop by an isotonic
regression on the forms that were scored. What pruning loses before fine-tuning counts less than what int8 loses: one
weight, chosen by the fit, says how much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm

from edgekit.core.measurement import Quality
from edgekit.search.price import Table, all_cells
from edgekit.search.space import Point, Space

Widths = tuple[tuple[str, int], ...]
_WEIGHTS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)


def excess(quality: Sequence[Quality]) -> float | None:
    """How far the worst figure's drop, at its upper limit, is over its bound; None where nothing is bounded.

    >>> q = Quality(metric="a", split="validation", value=0.9, reference=0.91, drop=0.01, drop_low=0, drop_high=0.02,
    ...             samples=100, bound=0.05)
    >>> excess([q])
    -0.03
    """
    over = [q.drop_high - q.bound for q in quality if q.bound is not None]
    return round(max(over), 12) if over else None


@dataclass(frozen=True)
class Sensitivities:
    """The loss of each layer in int8 alone, of each group at each width alone, and of width vectors scored whole.

    What was not scored is filled in: a layer as the worst that was, a group by the share removed, squared.
    """

    space: Space
    int8: Mapping[str, float]
    widths: Mapping[tuple[str, int], float]
    shapes: Mapping[Widths, float] = field(default_factory=dict)

    def of_int8(self, point: Point) -> float:
        """The sum over the int8 layers."""
        return sum(self.of_layer(name) for name in point.int8)

    def of_layer(self, name: str) -> float:
        """The loss of one layer in int8."""
        return self.int8.get(name, max(self.int8.values(), default=1.0))

    def of_widths(self, point: Point) -> float:
        """The loss of a width vector: as scored whole, else the sum over its groups."""
        return self.shapes.get(point.widths, sum(self.of_width(*kept) for kept in point.widths))

    def of_width(self, group: str, width: int) -> float:
        """The loss of one group at one width."""
        full = self._full[group]
        own = [loss for (g, _), loss in self._rates.items() if g == group]
        rate = float(np.median(own or list(self._rates.values()) or [1.0]))
        return self.widths.get((group, width), rate * (1 - width / full) ** 2)

    def table(self, weight: float) -> Table:
        """Loss as additive terms, widths weighed by `weight`."""
        return Table(
            unary={
                cell: self.of_layer(layer.name)
                for layer in self.space.layers
                for cell in all_cells(self.space, layer)
                if cell[1] == "int8"
            },
            width={(g.name, w): weight * self.of_width(g.name, w) for g in self.space.groups for w in g.widths},
        )

    @cached_property
    def _full(self) -> dict[str, int]:
        return {group.name: group.full for group in self.space.groups}

    @cached_property
    def _rates(self) -> dict[tuple[str, int], float]:
        """Loss over the squared share removed, of every width that was scored."""
        return {(g, w): v / (1 - w / self._full[g]) ** 2 for (g, w), v in self.widths.items() if w < self._full[g]}


@dataclass(frozen=True)
class Scored:
    """A form that was scored as it would be deployed: its sums of sensitivities, and its excess."""

    int8: float
    widths: float
    excess: float


@dataclass(frozen=True)
class Accuracy:
    """The map from sums of sensitivities to the excess over the bounds. Fitted by `fit_accuracy`."""

    weight: float = 1.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    sd: float = field(default=1.0)

    def at(self, int8: float, widths: float) -> float:
        """The expected excess: linear in the square root of the sum between scored forms and beyond them."""
        if not self.x:
            return -1.0
        x = sqrt(max(int8 + self.weight * widths, 0.0))
        if x <= self.x[-1] or len(self.x) < 2:
            return float(np.interp(x, self.x, self.y))
        slope = max((self.y[-1] - self.y[0]) / (self.x[-1] - self.x[0]), 1e-9)
        return self.y[-1] + slope * (x - self.x[-1])

    def chance(self, int8: float, widths: float) -> float:
        """The probability that the bounds are kept."""
        return float(norm.cdf(-self.at(int8, widths) / self.sd)) if self.x else 1.0

    def budgets(self) -> tuple[float, ...]:
        """Sums of sensitivities to solve for: around the one where the bound is met."""
        if not self.x:
            return (np.inf,)
        over = [x for x, y in zip(self.x, self.y, strict=True) if y > 0]
        within = [x for x, y in zip(self.x, self.y, strict=True) if y <= 0]
        least, most = max(within, default=0.0), min(over, default=2 * max(self.x) + 1e-9)
        if not over:
            return (*((least * share) ** 2 + 1e-12 for share in (0.7, 1.0, 1.5, 2.0)), np.inf)
        at = sorted({least + (most - least) * s for s in (0.0, 0.25, 0.5, 0.75, 1.0)} | {0.7 * least, 1.3 * most})
        return tuple(x**2 + 1e-12 for x in at)


def fit_accuracy(scored: Sequence[Scored]) -> Accuracy:
    """The monotone map of least squares over the weights in `_WEIGHTS`; nothing bounded gives one that allows all."""
    if not scored:
        return Accuracy()
    y = np.array([s.excess for s in scored])
    best: tuple[float, Accuracy] | None = None
    for weight in _WEIGHTS if any(s.widths for s in scored) else (1.0,):
        x = np.sqrt([max(s.int8 + weight * s.widths, 0.0) for s in scored])
        order = np.lexsort((y, x))
        smooth = isotonic_regression(y[order]).x
        error = float(np.sqrt(np.mean((smooth - y[order]) ** 2)))
        spread = max(error, 0.1 * abs(float(y.min())), 1e-6)
        knots = dict(zip((float(v) for v in x[order]), (float(v) for v in smooth), strict=True))
        fitted = Accuracy(weight, tuple(knots), tuple(knots.values()), spread)
        if best is None or error < best[0] * 0.98:
            best = error, fitted
    assert best is not None
    return best[1]
