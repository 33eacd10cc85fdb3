"""What to score and what to measure next, what is best so far, and when no more is worth its price."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, pi, sqrt
from typing import Literal

from scipy.stats import norm

from edgekit.search.record import Beliefs
from edgekit.search.space import Point, Widths

WORTH = 0.05
"""Below this chance of being better and feasible, a form is not measured."""
_MAY_WELL = 0.3
"""The chance to keep the bounds from which on a form is scored to show that none is better."""
_MARGIN = 0.003
"""A gain in the goal's figure, as a share of float's, that is not worth a push."""
_SMALLER = 0.01
"""By this share of float's bytes a form must be smaller, where bytes are the goal: peak memory is read, not counted."""
_LOADS = 3
"""A borderline form is measured at most this often."""


@dataclass(frozen=True)
class Prospect:
    """A form that might be better than the best: the chance of that, and the gain to expect."""

    point: Point
    chance: float
    gain: float
    seconds: float


def within_limit(beliefs: Beliefs, points: Sequence[Point]) -> list[float]:
    """The probability that each is within the time limit; 1 where there is none."""
    mean, sd = beliefs.times(points)
    if beliefs.limit == float("inf"):
        return [1.0] * len(points)
    return [float(norm.cdf((beliefs.limit - m) / s)) for m, s in zip(mean, sd, strict=True)]


def wins(beliefs: Beliefs, point: Point) -> bool:
    """Whether it was measured, keeps every bound, and may be chosen in the place of float."""
    record, goal = beliefs.record, beliefs.goal
    comparison = record.comparison(point)
    if comparison is None or not record.accepted(point) or point == beliefs.space.float_form:
        return False
    if comparison.verdict == "unlike states" or within_limit(beliefs, [point])[0] < 0.5:
        return False
    if goal.minimise == "latency":
        return comparison.verdict == "faster" and comparison.ratio.high < 1
    if goal.minimise == "loss":
        return True
    known = record.figure(point) is not None and record.figure(beliefs.space.float_form) is not None
    return comparison.verdict != "slower" and known and float(beliefs.values([point])[0][0]) < 1 - _SMALLER


def best(beliefs: Beliefs) -> Point:
    """The winner with the least figure by the posterior; float where nothing wins."""
    winners = [point for point in beliefs.record.measured if wins(beliefs, point)]
    if not winners:
        return beliefs.space.float_form
    values, _ = beliefs.values(winners)
    return min(zip(values, range(len(winners)), winners, strict=True), key=lambda w: (w[0], w[1]))[2]


def prospects(beliefs: Beliefs, points: Sequence[Point], against: Literal["measured", "scored"]) -> list[Prospect]:
    """How `points` stand against the best that was measured, or that was scored and is accepted; most to gain first."""
    if not points:
        return []
    leader = best(beliefs)
    value, sd = beliefs.values(points)
    times, _ = beliefs.times(points)
    ok = within_limit(beliefs, points)
    feasible = [beliefs.chance(point) for point in points]
    bar = _bar(beliefs, leader, float(max(value)))
    if against == "scored" and beliefs.goal.minimise != "loss":
        accepted = [p for p in _known(beliefs) if beliefs.record.accepted(p)]
        bar = min([bar, *(float(v) for v in beliefs.values(accepted)[0])]) if accepted else bar
    found = []
    for i, point in enumerate(points):
        z = (bar - float(value[i])) / float(sd[i])
        better = float(norm.cdf(z))
        gain = (
            float(sd[i]) * (z * better + exp(-z * z / 2) / sqrt(2 * pi)) if abs(z) < 30 else max(z, 0.0) * float(sd[i])
        )
        found.append(Prospect(point, better * ok[i] * feasible[i], gain * ok[i] * feasible[i], float(times[i])))
    return sorted(found, key=lambda p: (-p.gain, p.seconds, p.point.digest))


def _bar(beliefs: Beliefs, leader: Point, worst: float) -> float:
    """The figure that a form must fall below to be better."""
    if beliefs.goal.minimise != "loss":
        return float(beliefs.values([leader])[0][0]) - _MARGIN
    measured = leader in beliefs.record.measured or within_limit(beliefs, [leader])[0] >= 0.5
    return float(beliefs.values([leader])[0][0]) * 0.999 if measured else worst * 1.1 + 1e-12


def to_measure(beliefs: Beliefs, count: int) -> list[Point]:
    """At most `count` forms that are scored, feasible and worth measuring; none: the search is over."""
    record = beliefs.record
    ready = [point for point in _known(beliefs) if point not in record.measured and record.accepted(point)]
    found = [p for p in prospects(beliefs, ready, "measured") if p.chance >= WORTH]
    return ([p.point for p in found] + _borderline(beliefs))[:count] if found else _borderline(beliefs)[:count]


def runners_up(beliefs: Beliefs, count: int) -> list[Point]:
    """The `count` most promising forms that are ready, however small their chance."""
    ready = [p for p in _known(beliefs) if p not in beliefs.record.measured and beliefs.record.accepted(p)]
    return [p.point for p in prospects(beliefs, ready, "measured")][:count]


def to_score(beliefs: Beliefs, count: int) -> list[Point]:
    """At most `count` compiled forms of width vectors that are paid for, most to gain first."""
    waiting = _unscored(beliefs)
    return [p.point for p in prospects(beliefs, waiting, "scored") if p.chance >= WORTH / 5][:count]


def to_prove(beliefs: Beliefs, count: int) -> list[Point]:
    """At most `count` compiled forms of width vectors that are paid for and may well keep the bounds, fastest first."""
    hopeful = [point for point in _unscored(beliefs) if beliefs.chance(point) >= _MAY_WELL]
    times = dict(zip(hopeful, beliefs.times(hopeful)[0], strict=True)) if hopeful else {}
    return sorted(hopeful, key=lambda point: (times[point], point.digest))[:count]


def to_tune(beliefs: Beliefs, shapes: int, each: int, *, worth: float = WORTH) -> list[Point]:
    """Forms of at most `shapes` width vectors that are worth fine-tuning, `each` at most of each."""
    paid = _paid(beliefs)
    waiting = [p for p in _known(beliefs) if p.widths not in paid]
    found: dict[object, list[Point]] = {}
    for prospect in prospects(beliefs, waiting, "scored"):
        if prospect.chance >= worth and (prospect.point.widths in found or len(found) < shapes):
            found.setdefault(prospect.point.widths, []).append(prospect.point)
    return [point for points in found.values() for point in points[:each]]


def beats_uniforms(beliefs: Beliefs, leader: Point) -> bool:
    """Whether `leader` is no uniform form and, by intervals against float, beats each one that wins too."""
    if beliefs.space.is_uniform(leader):
        return False
    values, sds = beliefs.values([leader, *rivals(beliefs, leader)])
    return all(
        values[0] + 1.96 * sqrt(sds[0] ** 2 + sd**2) < value for value, sd in zip(values[1:], sds[1:], strict=True)
    )


def rivals(beliefs: Beliefs, leader: Point) -> list[Point]:
    """The uniform forms, float aside, that might be chosen as well."""
    return [point for _, point in beliefs.space.uniforms if point != leader and wins(beliefs, point)]


def _paid(beliefs: Beliefs) -> set[Widths]:
    """The width vectors of which another form costs no fine-tuning."""
    return {beliefs.space.float_form.widths, *beliefs.record.tuned()}


def _unscored(beliefs: Beliefs) -> list[Point]:
    """The compiled forms of width vectors that are paid for, and that were not scored as deployed."""
    paid = _paid(beliefs)
    return [p for p in _known(beliefs) if p.widths in paid and beliefs.record.scored(p) is None]


def _known(beliefs: Beliefs) -> list[Point]:
    """The forms that were compiled and did not fail, in the precisions that are searched."""
    record = beliefs.record
    searched = {space.first for space in record.spaces}
    known = [p for p in record.compiled if p not in record.failed and p != beliefs.space.float_form]
    return [point for point in known if not point.int8 or point.precision in searched]


def _borderline(beliefs: Beliefs) -> list[Point]:
    """Measured forms near a time limit that would be, or are, the choice: another reading settles them."""
    if beliefs.limit == float("inf"):
        return []
    record, leader = beliefs.record, best(beliefs)
    bar = float(beliefs.values([leader])[0][0]) if leader in record.measured else float("inf")
    found = []
    for point, answers in record.measured.items():
        inside = within_limit(beliefs, [point])[0]
        value = float(beliefs.values([point])[0][0])
        if record.accepted(point) and len(answers) < _LOADS and value <= bar and 0.1 < inside < 0.9:
            found.append((value, point.digest, point))
    return [point for _, _, point in sorted(found)]
