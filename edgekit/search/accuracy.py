"""What a form will lose, before it is trained and scored: sums of sensitivities, mapped to true drops by rank.

Losses of single changes do not add up in value but they do in rank, so the sum is mapped to the drop by an isotonic
regression on the forms that were scored. What pruning loses before fine-tuning says what it loses after, by a power law
through the width vectors that were tuned; how much of it counts beside int8's loss is one weight, chosen by the fit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import exp, inf, sqrt

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import norm

from edgekit.core.measurement import Quality
from edgekit.core.recipe import Precision
from edgekit.search.price import Table, all_cells
from edgekit.search.space import Point, Space, Widths

_WEIGHTS = (1.0, 0.5, 2.0, 0.25, 4.0, 0.1, 10.0)


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
    """The loss of a layer alone in a precision, of a group alone at a width, and of width vectors scored whole.

    What was not scored is filled in: a layer as the worst that was, a group by the share removed, squared.
    """

    space: Space
    int8: Mapping[tuple[str, Precision], float]
    widths: Mapping[tuple[str, int], float]
    shapes: Mapping[Widths, float] = field(default_factory=dict)

    def of_int8(self, point: Point) -> float:
        """The sum over the int8 layers."""
        return sum(self.of_layer(name, point.precision) for name in point.int8)

    def of_layer(self, name: str, precision: Precision) -> float:
        """The loss of one layer in a precision below float."""
        return self.int8.get((name, precision), self._worst.get(precision, 1.0))

    def of_widths(self, point: Point) -> float:
        """The loss of a width vector: as scored whole, else the sum over its groups."""
        return self.shapes.get(point.widths, sum(self.of_width(*kept) for kept in point.widths))

    def of_width(self, group: str, width: int) -> float:
        """The loss of one group at one width."""
        full = self._full[group]
        own = [loss for (g, _), loss in self._rates.items() if g == group]
        rate = float(np.median(own or list(self._rates.values()) or [1.0]))
        return self.widths.get((group, width), rate * (1 - width / full) ** 2)

    @cached_property
    def int8_table(self) -> Table:
        """The loss of int8 layers as additive terms."""
        return Table(
            unary={
                cell: self.of_layer(layer.name, cell[1])
                for layer in self.space.layers
                for cell in all_cells(self.space, layer)
                if cell[1] != "fp32"
            }
        )

    @cached_property
    def width_table(self) -> Table:
        """The loss of widths, before fine-tuning, as additive terms."""
        return Table(width={(g.name, w): self.of_width(g.name, w) for g in self.space.groups for w in g.widths})

    @cached_property
    def _worst(self) -> dict[Precision, float]:
        """The largest loss that was scored of a layer in each precision."""
        found: dict[Precision, float] = {}
        for (_, precision), loss in self.int8.items():
            found[precision] = max(loss, found.get(precision, loss))
        return found

    @cached_property
    def _full(self) -> dict[str, int]:
        return {group.name: group.full for group in self.space.groups}

    @cached_property
    def _rates(self) -> dict[tuple[str, int], float]:
        """Loss over the squared share removed, of every width that was scored."""
        return {(g, w): v / (1 - w / self._full[g]) ** 2 for (g, w), v in self.widths.items() if w < self._full[g]}


@dataclass(frozen=True)
class Recovery:
    """What pruning loses after fine-tuning: a power of what it loses before; exact for the width vectors tuned."""

    scale: float = 0.1
    power: float = 1.0
    sd: float = 0.7
    """Standard deviation of its logarithm."""
    tuned: Mapping[Widths, float] = field(default_factory=dict)

    def at(self, widths: Widths, before: float) -> tuple[float, float]:
        """(loss, standard deviation of its logarithm) after fine-tuning."""
        if widths in self.tuned:
            return self.tuned[widths], 0.0
        return (self.scale * before**self.power, self.sd) if before > 0 else (0.0, 0.0)

    def before(self, after: float) -> float:
        """The loss before fine-tuning that ends at `after`."""
        return float((max(after, 0.0) / self.scale) ** (1 / self.power))


def fit_recovery(tuned: Sequence[tuple[Widths, float, float]]) -> Recovery:
    """The power law through (widths, loss before, loss after), its power held near 1 by one pseudo-observation."""
    logs = np.log([(max(before, 1e-12), max(after, 1e-12)) for _, before, after in tuned])
    known = {widths: after for widths, _, after in tuned}
    if not len(logs):
        return Recovery()
    centre = logs.mean(axis=0)
    x, y = (logs - centre).T
    power = float(np.clip((x @ y + 0.5) / (x @ x + 0.5), 0.3, 3.0))
    residual = y - power * x
    sd = float(np.sqrt((residual @ residual + 0.4**2) / len(logs)))
    return Recovery(float(np.exp(centre[1] - power * centre[0])), power, max(sd, 0.1), known)


@dataclass(frozen=True)
class Scored:
    """A form that was scored as it would be deployed: what int8 and widths lose, by their parts; and its excess."""

    int8: float
    widths: float
    excess: float


@dataclass(frozen=True)
class Accuracy:
    """The map from losses to the excess over the bounds. Fitted by `fit_accuracy`."""

    weight: float = 1.0
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    sd: float = 1.0

    def at(self, loss: float) -> float:
        """The expected excess: linear in the root of the loss between scored forms, and beyond them."""
        x = sqrt(max(loss, 0.0))
        if x <= self.x[-1] or len(self.x) < 2:
            return float(np.interp(x, self.x, self.y))
        slope = max((self.y[-1] - self.y[0]) / (self.x[-1] - self.x[0]), 1e-9)
        return self.y[-1] + slope * (x - self.x[-1])

    def chance(self, int8: float, widths: float, widths_sd: float = 0.0) -> float:
        """The probability that the bounds are kept, over what is not known of the loss of widths."""
        if not self.x:
            return 1.0
        draws = (-1.3, -0.5, 0.0, 0.5, 1.3) if widths_sd and widths else (0.0,)
        losses = [int8 + self.weight * widths * exp(widths_sd * z) for z in draws]
        return sum(float(norm.cdf(-self.at(loss) / self.sd)) for loss in losses) / len(losses)

    @property
    def allowed(self) -> float:
        """The loss at which the bound is met; infinite where nothing is bounded or nothing scored broke it."""
        over = [i for i, y in enumerate(self.y) if y > 0]
        if not over:
            return inf
        i = over[0]
        if i == 0:
            return self.x[0] ** 2
        share = -self.y[i - 1] / (self.y[i] - self.y[i - 1])
        return (self.x[i - 1] + share * (self.x[i] - self.x[i - 1])) ** 2


def fit_accuracy(scored: Sequence[Scored]) -> Accuracy:
    """The monotone map of least squares over the weights in `_WEIGHTS`; nothing bounded gives one that allows all."""
    best: tuple[float, Accuracy] | None = None
    y = np.array([s.excess for s in scored])
    for weight in _WEIGHTS if any(s.widths for s in scored) else (1.0,):
        x = np.sqrt([max(s.int8 + weight * s.widths, 0.0) for s in scored])
        order = np.lexsort((y, x))
        smooth = isotonic_regression(y[order]).x if len(y) else y
        error = float(np.sqrt(np.mean((smooth - y[order]) ** 2))) if len(y) else 0.0
        knots = dict(zip((float(v) for v in x[order]), (float(v) for v in smooth), strict=True))
        if best is None or error < best[0] * 0.98:
            spread = max(error, 0.05 * float(abs(y).min(initial=inf)) if len(y) else 0.0, 1e-6)
            best = error, Accuracy(weight, tuple(knots), tuple(knots.values()), spread)
    return Accuracy() if best is None else best[1]
