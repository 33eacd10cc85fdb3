"""How good outputs are beside the float model's: a metric, its drop, and the paired 95 % interval of the drop.

Pure numpy. Accuracy and agreement are shares of samples, and the interval of their paired difference is Newcombe's
score interval for paired proportions (method 10 of R. G. Newcombe, "Improved confidence intervals for the difference
between binomial proportions based on paired data", Statistics in Medicine 17, 1998): it holds for small samples and
for differences near 0, where a normal interval does not. A user's own figure gets a paired bootstrap.
"""

import contextlib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, SupportsFloat

import numpy as np

from edgekit.core.measurement import Quality
from edgekit.core.project import MetricSource, parse_drop
from edgekit.errors import MetricError, ProjectError
from edgekit.models.source import call, load_function

Z95 = 1.959963984540054
RESAMPLES = 500
OWN = ("accuracy", "agreement")
Split = Literal["calibration", "validation", "test"]
Metric = Callable[[Any, Any], SupportsFloat | Mapping[str, SupportsFloat]]
"""A user's figure, or several by name, of (outputs, labels): arrays, the sample first. Larger is better."""


def score(
    metric: MetricSource, split: Split, outputs: np.ndarray, reference: np.ndarray,
    labels: np.ndarray | None, function: Metric | None = None,
) -> tuple[Quality, ...]:  # fmt: skip
    """The metric's figures for `outputs`, beside those for the float model's outputs `reference` (sample first).

    `function` is the user's own (`load_metric`), whatever its name; without it, the metric is one of edgekit's.

    Raises: MetricError: no labels where the metric needs them, NaN, no samples; ProjectError from a user's function.
    """
    _check(outputs, reference, labels, metric.name)
    if function is not None:
        return _users(metric, split, outputs, reference, labels, function)
    bound = parse_drop(metric.max_drop, "metric.max_drop")
    if metric.name == "agreement":
        same = _classes(outputs) == _classes(reference)
        return (_shares("agreement", split, same, np.ones_like(same), bound),)
    if metric.name == "accuracy":
        if labels is None:
            raise MetricError(f"metric accuracy: data.{split} has no labels; without labels use metric agreement")
        if labels.ndim != 1 or labels.dtype.kind not in "iub":
            raise MetricError(
                f"metric accuracy: data.{split}: want one class number a sample, got labels of shape {labels.shape}, "
                f"{labels.dtype}; a figure of another kind is a function of your own"
            )
        right = (_classes(outputs) == labels, _classes(reference) == labels)
        return (_shares("accuracy", split, *right, bound),)
    raise ProjectError(f"metric {metric.name}: want accuracy, agreement or a function of your own")


def load_metric(metric: MetricSource, root: Path) -> Metric | None:
    """The user's function that the metric names, relative to `root`; None where it is one of edgekit's own.

    Raises: ProjectError: no such file or function.
    """
    return None if metric.name in OWN else load_function(metric.name, root, "metric.name")


def loss(outputs: np.ndarray, reference: np.ndarray) -> float:
    """Mean squared error of the outputs, relative to the reference's variance: 0 is equal, 1 is as far as its mean.

    >>> loss(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]))
    0.0
    """
    a, b = outputs.astype(np.float64), reference.astype(np.float64)
    return float(np.mean((a - b) ** 2) / max(float(np.var(b)), 1e-12))


def check_repeatable(first: np.ndarray, second: np.ndarray, what: str) -> None:
    """Return if two runs of the same evaluation agree.

    Raises: MetricError.
    """
    if first.shape != second.shape or not np.array_equal(first, second):
        raise MetricError(f"{what} is not deterministic: two runs on the same samples differ; fix its seed")


def paired_interval(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of mean(theirs) - mean(ours) for paired yes/no samples, by Newcombe's method 10.

    >>> low, high = paired_interval(np.array([True] * 98 + [False] * 2), np.array([True] * 100))
    >>> bool(low < 0.02 < high < 0.08)
    True
    """
    n = len(ours)
    both = int(np.sum(ours & theirs))
    only_theirs = int(np.sum(~ours & theirs))
    only_ours = int(np.sum(ours & ~theirs))
    neither = n - both - only_theirs - only_ours
    p1, p2 = (both + only_theirs) / n, (both + only_ours) / n
    (l1, u1), (l2, u2) = _wilson(p1, n), _wilson(p2, n)
    product = (both + only_theirs) * (only_ours + neither) * (both + only_ours) * (only_theirs + neither)
    raw = both * neither - only_theirs * only_ours
    phi = 0.0 if product == 0 else (max(raw - n / 2, 0.0) if raw > 0 else raw) / product**0.5
    down = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    up = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    difference = p1 - p2
    low, high = difference - max(down, 0.0) ** 0.5, difference + max(up, 0.0) ** 0.5
    return max(low, -1.0), min(high, 1.0)


def _wilson(p: float, n: int) -> tuple[float, float]:
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * (p * (1 - p) / n + Z95**2 / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def _shares(metric: str, split: Split, ours: np.ndarray, theirs: np.ndarray, bound: float) -> Quality:
    low, high = paired_interval(ours, theirs)
    value, reference = float(np.mean(ours)), float(np.mean(theirs))
    return Quality(
        metric=metric, split=split, value=value, reference=reference, drop=reference - value,
        drop_low=low, drop_high=high, samples=len(ours), bound=bound,
    )  # fmt: skip


def _users(
    metric: MetricSource, split: Split, outputs: np.ndarray, reference: np.ndarray,
    labels: np.ndarray | None, function: Metric,
) -> tuple[Quality, ...]:  # fmt: skip
    bounds = {b.figure: parse_drop(b.max_drop, f"metric.bound {b.figure}") for b in metric.bound}
    ours, theirs = (_figures(function, a, labels, metric.name) for a in (outputs, reference))
    if (again := _figures(function, outputs, labels, metric.name)) != ours:
        raise MetricError(f"metric {metric.name} is not deterministic: it gave {ours}, then {again}; fix its seed")
    if unknown := set(bounds) - set(ours):
        raise ProjectError(f"metric.bound: {metric.name} gives no figure {sorted(unknown)}, it gives {sorted(ours)}")
    if not bounds:
        bounds = dict.fromkeys(ours, parse_drop(metric.max_drop, "metric.max_drop"))
    drops = _bootstrap(function, outputs, reference, labels, metric.name)
    intervals = {name: np.percentile(values, [2.5, 97.5]) for name, values in drops.items()}
    return tuple(
        Quality(
            metric=name, split=split, value=ours[name], reference=theirs[name], drop=theirs[name] - ours[name],
            drop_low=float(intervals[name][0]), drop_high=float(intervals[name][1]),
            samples=len(outputs), bound=bounds.get(name),
        )
        for name in ours
    )  # fmt: skip


def _bootstrap(
    function: Metric, outputs: np.ndarray, reference: np.ndarray, labels: np.ndarray | None, name: str
) -> dict[str, list[float]]:
    """Drops by figure over resamples of the same samples on both sides; those without a figure do not count.

    A resample may lack a whole class, so that a figure of that class is not a number.
    """
    generator = np.random.default_rng(0)
    drops: dict[str, list[float]] = {}
    for _ in range(RESAMPLES):
        pick = generator.integers(0, len(outputs), len(outputs))
        chosen = None if labels is None else labels[pick]
        with contextlib.suppress(MetricError), warnings.catch_warnings(action="ignore"):
            ours = _figures(function, outputs[pick], chosen, name)
            theirs = _figures(function, reference[pick], chosen, name)
            for figure in ours.keys() & theirs.keys():
                drops.setdefault(figure, []).append(theirs[figure] - ours[figure])
    if any(len(values) < RESAMPLES // 2 for values in drops.values()) or not drops:
        raise MetricError(f"metric {name}: too few samples ({len(outputs)}): most resamples of them give no figure")
    return drops


def _figures(function: Metric, outputs: np.ndarray, labels: np.ndarray | None, name: str) -> dict[str, float]:
    given = call(function, f"metric {name}", outputs, labels)
    figures = given if isinstance(given, Mapping) else {name.rpartition(":")[2]: given}
    try:
        found = {str(k): float(v) for k, v in figures.items()}
    except (TypeError, ValueError):
        raise MetricError(f"metric {name}: want a number or a dict of numbers, got {type(given).__name__}") from None
    if not found or not all(np.isfinite(v) for v in found.values()):
        raise MetricError(f"metric {name}: got {found}: want finite numbers")
    return found


def _classes(outputs: np.ndarray) -> np.ndarray:
    """The class of each sample: the largest of the last axis, or the sign of a single logit."""
    flat = outputs.reshape(len(outputs), -1) if outputs.ndim != 2 else outputs
    return np.asarray(flat[:, 0] > 0 if flat.shape[1] == 1 else flat.argmax(axis=1))


def _check(outputs: np.ndarray, reference: np.ndarray, labels: np.ndarray | None, name: str) -> None:
    if len(outputs) == 0:
        raise MetricError(f"metric {name}: no samples")
    if outputs.shape != reference.shape:
        raise MetricError(f"metric {name}: outputs are {outputs.shape}, the float model's {reference.shape}")
    if not (np.isfinite(outputs).all() and np.isfinite(reference).all()):
        raise MetricError(f"metric {name}: NaN or infinite outputs")
    if labels is not None and len(labels) != len(outputs):
        raise MetricError(f"metric {name}: {len(outputs)} outputs and {len(labels)} labels")
