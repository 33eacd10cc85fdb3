"""What the device said corrects what the prices said: a Gaussian posterior of each form's time.

Prices err by signature (little where a trace gave them, more where only the farm did), by kind, and all together (the
profile and the measurement may differ in state); a form errs on its own by what no sum of ops can say, and forms that
differ in few choices err alike. All of it is one covariance, so a few measured forms correct all others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.measurement import Ratio
from edgekit.core.price import OpPrice, OpSignature
from edgekit.search.price import precision_of
from edgekit.search.questions import Compiled
from edgekit.search.space import Point, Space

Array = NDArray[np.float64]

_OF_SOURCE = {"trace": 0.04, "farm": 0.30}
_OF_UNPRICED = 1.0
_OF_KIND = 0.04
_OF_ALL = 0.02
_OF_FORM = 0.012
_REACH = 0.15
"""Share of choices in which two forms may differ and still err alike."""
LONE_SD = 0.03
"""Standard deviation of a lone time's ratio, taken outside of interleaved rounds."""
_LEAST_SD = 0.003


@dataclass(frozen=True)
class Observed:
    """A form's time as a share of the float form's, and its standard deviation."""

    point: Point
    ratio: float
    sd: float


def observed_in(point: Point, ratio: Ratio) -> Observed:
    """What a comparison with the float form says of `point`.

    >>> observed_in(Point(), Ratio(value=0.5, low=0.49, high=0.51, rounds=10)).sd
    0.0051
    """
    sd = (ratio.high - ratio.low) / 2 / 1.96
    return Observed(point, ratio.value, round(max(sd, _LEAST_SD * ratio.value), 4))


class Prices:
    """The compiled forms as counts of ops; the first, float, is the unit."""

    def __init__(self, compiled: Sequence[Compiled]) -> None:
        self.points = {form.point: i for i, form in enumerate(compiled)}
        by_kind = _medians([op for form in compiled for op in form.ops])
        seconds: dict[OpSignature, tuple[float, float]] = {}
        counts: list[Counter[OpSignature]] = []
        for form in compiled:
            for op in form.ops:
                seconds[op.signature] = op.seconds, _OF_SOURCE[op.source]
            for signature in form.unpriced:
                guess = by_kind.get(signature.kind, by_kind.get("", 0.0))
                seconds.setdefault(signature, (guess, _OF_UNPRICED))
            counts.append(Counter([op.signature for op in form.ops] + list(form.unpriced)))
        index = {signature: i for i, signature in enumerate(seconds)}
        matrix = np.zeros((len(compiled), len(index)))
        for i, count in enumerate(counts):
            for signature, times in count.items():
                matrix[i, index[signature]] = times * seconds[signature][0]
        kinds = {kind: i for i, kind in enumerate(dict.fromkeys(s.kind for s in index))}
        member = np.zeros((len(index), len(kinds)))
        for signature, i in index.items():
            member[i, kinds[signature.kind]] = 1.0
        unit = matrix[0].sum()
        self.seconds = matrix.sum(axis=1)
        self.by_signature = matrix / unit
        self.by_kind = self.by_signature @ member
        self.sd = np.array([sd for _, sd in seconds.values()])


def _medians(ops: Sequence[OpPrice]) -> dict[str, float]:
    """The median price of each kind, and of all under ""."""
    by_kind: dict[str, list[float]] = {"": [op.seconds for op in ops] or [0.0]}
    for op in ops:
        by_kind.setdefault(op.signature.kind, []).append(op.seconds)
    return {kind: float(np.median(values)) for kind, values in by_kind.items()}


class Posterior:
    """The compiled forms' times, as shares of the float form's, given what was observed."""

    def __init__(self, space: Space, prices: Prices, observed: Sequence[Observed]) -> None:
        self._prices, self._space = prices, space
        known = [seen for seen in observed if seen.point in prices.points]
        rows = [prices.points[seen.point] for seen in known]
        self._forms = _choices(space, list(prices.points))
        self._size = len(space.layers) + len(space.groups)
        self._mean = prices.by_signature.sum(axis=1)
        self._rows = rows
        gram = self._covariance(rows, rows) + np.diag([seen.sd**2 for seen in known])
        self._inverse = np.linalg.inv(gram) if rows else np.zeros((0, 0))
        self._gap = np.array([seen.ratio for seen in known]) - self._mean[rows]

    def predict(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """(mean, standard deviation) of each point's time as a share of float's. Every point was compiled."""
        rows = [self._prices.points[point] for point in points]
        mean = self._mean[rows]
        variance = np.array([self._covariance([row], [row])[0, 0] for row in rows])
        if self._rows:
            cross = self._covariance(rows, self._rows)
            mean = mean + cross @ self._inverse @ self._gap
            variance = variance - np.einsum("ij,jk,ik->i", cross, self._inverse, cross)
        return np.maximum(mean, 1e-9), np.sqrt(np.maximum(variance, 1e-10))

    def _covariance(self, left: Sequence[int], right: Sequence[int]) -> Array:
        p = self._prices
        a, b = p.by_signature[left], p.by_signature[right]
        total = np.outer(self._mean[left], self._mean[right])
        apart = np.abs(self._forms[left][:, None, :] - self._forms[right][None, :, :]).sum(axis=2) / self._size
        alike = np.exp(-apart / _REACH)
        return np.asarray(
            (a * p.sd**2) @ b.T
            + _OF_KIND**2 * p.by_kind[left] @ p.by_kind[right].T
            + (_OF_ALL**2 + _OF_FORM**2 * alike) * total
        )


def _choices(space: Space, points: Sequence[Point]) -> Array:
    """Each point as numbers in 0..1: one per layer for each precision below float, and one per group."""
    rows = []
    for point in points:
        of = precision_of(point)
        row = [float(of(layer.name) == p) for p in space.precisions for layer in space.layers]
        rows.append(row + [w / g.full for g, (_, w) in zip(space.groups, point.widths, strict=True)])
    return np.array(rows)


def noise_of(observed: Sequence[Observed]) -> Mapping[Point, float]:
    """The least standard deviation seen at each point."""
    found: dict[Point, float] = {}
    for seen in observed:
        found[seen.point] = min(seen.sd, found.get(seen.point, seen.sd))
    return found
