"""Ratios over paired rounds, their intervals, and when enough has been seen. Pure.

The rounds are the independent unit, not the calls: calls within a load share its memory layout and its moment. A
round's ratio is the quotient of the medians of its two forms; the interval is Student's t over the logarithms, whose
mean is the geometric mean of the ratios.
"""

from collections.abc import Sequence
from statistics import median

import numpy as np

from edgekit.core.measurement import Clock, Comparison, Latency, Ratio, Reading, Round, Verdict

PEEKED_CONFIDENCE = 0.99
"""The level that the rule for stopping looks at: stricter than the 95 % that is reported, since it looks often."""
RESAMPLES = 200
DISTURBED = 1.05
"""Wall over CPU seconds on one thread above which other programs took part in a reading."""


def ratio_over_rounds(candidate: Sequence[float], baseline: Sequence[float], confidence: float = 0.95) -> Ratio:
    """candidate / baseline, paired by round, with its t interval; one round has an interval without bounds.

    >>> r = ratio_over_rounds([1.0, 1.1, 0.9], [2.0, 2.2, 1.8])
    >>> round(r.value, 3), r.rounds
    (0.5, 3)
    """
    logs = np.log(np.asarray(candidate, float)) - np.log(np.asarray(baseline, float))
    n, mean = len(logs), float(np.mean(logs))
    if n < 2:
        return Ratio(value=float(np.exp(mean)), low=0.0, high=float("inf"), rounds=n, confidence=confidence)
    from scipy.stats import t

    half = float(t.ppf(0.5 + confidence / 2, n - 1) * np.std(logs, ddof=1) / n**0.5)
    return Ratio(
        value=float(np.exp(mean)), low=float(np.exp(mean - half)), high=float(np.exp(mean + half)),
        rounds=n, confidence=confidence,
    )  # fmt: skip


def medians(rounds: Sequence[Round], artifact: str, clock: Clock) -> list[float]:
    """The median seconds of a call of `artifact` in each round, in the rounds' order."""
    return [median(_times(_reading(r, artifact), clock)) for r in rounds]


def tells_cpu(rounds: Sequence[Round], artifacts: Sequence[str]) -> bool:
    """Whether every reading of these has the CPU time of its calls."""
    return all(r.cpu_s for q in rounds for r in q.readings if r.artifact in artifacts)


def is_disturbed(rounds: Sequence[Round], artifacts: Sequence[str], threads: int) -> bool:
    """Whether other programs took part in a tenth of the readings or more; it can be told on one thread only.

    Readings without CPU time do not count.
    """
    if threads != 1:
        return False
    shares = [
        median(r.wall_s) / max(median(r.cpu_s), 1e-9)
        for q in rounds for r in q.readings if r.artifact in artifacts and r.cpu_s
    ]  # fmt: skip
    return sum(share > DISTURBED for share in shares) >= 0.1 * len(shares) > 0


def judging_clock(rounds: Sequence[Round], artifacts: Sequence[str], threads: int) -> Clock:
    """The clock that a comparison of these is judged by: wall, unless other programs disturbed it and CPU is told."""
    disturbed = is_disturbed(rounds, artifacts, threads) and tells_cpu(rounds, artifacts)
    return "cpu" if disturbed else "wall"


def compare(rounds: Sequence[Round], device: str, baseline: str, candidate: str, *, threads: int = 1) -> Comparison:
    """What the rounds say of `candidate` against `baseline`.

    The wall clock is judged; where other programs disturbed it, the process's CPU clock is, and `clock` says so.
    """
    wall = _ratio(rounds, baseline, candidate, "wall")
    cpu = _ratio(rounds, baseline, candidate, "cpu") if tells_cpu(rounds, (baseline, candidate)) else None
    clock = judging_clock(rounds, (baseline, candidate), threads)
    judged = cpu if clock == "cpu" and cpu is not None else wall
    return Comparison(
        device=device, baseline=baseline, candidate=candidate, ratio=judged, clock=clock, wall=wall, cpu=cpu,
        verdict=verdict(judged),
    )  # fmt: skip


def verdict(ratio: Ratio) -> Verdict:
    """In a word: a difference is one whose interval leaves 1 out."""
    return "faster" if ratio.high < 1 else "slower" if ratio.low > 1 else "no difference"


def latency(rounds: Sequence[Round], artifact: str, clock: Clock) -> Latency:
    """The seconds of a call over all rounds; `least_s` is the least of the loads' medians."""
    readings = [_reading(r, artifact) for r in rounds]
    if readings[0].told != "calls":
        return _of_summaries(readings)
    loads = [np.asarray(_times(reading, clock)) for reading in readings]
    calls = np.concatenate(loads)
    each = [float(np.median(load)) for load in loads]
    low, high = _median_interval(each)
    p90_within_s, p99_within_s = _tail_intervals(loads, (0.9, 0.99)) if len(loads) > 1 else (None, None)
    p50, p90, p99 = (float(np.quantile(calls, q)) for q in (0.5, 0.9, 0.99))
    return Latency(
        p50_s=p50, p90_s=p90, p99_s=p99, least_s=min(each), low_s=low, high_s=high, calls=len(calls), loads=len(loads),
        p90_within_s=p90_within_s, p99_within_s=p99_within_s,
    )  # fmt: skip


def _of_summaries(readings: Sequence[Reading]) -> Latency:
    """What loads that told one figure each say: nothing of single calls."""
    each = [reading.wall_s[0] for reading in readings]
    tails = [reading.p95_s for reading in readings if reading.p95_s is not None]
    low, high = _median_interval(each)
    return Latency(
        p50_s=float(np.median(each)), p90_s=None, p99_s=None, least_s=min(each), low_s=low, high_s=high,
        calls=sum(reading.calls or 1 for reading in readings), loads=len(readings), told=readings[0].told,
        p95_s=float(np.median(tails)) if len(tails) == len(readings) else None,
    )  # fmt: skip


def enough(rounds: Sequence[Round], baseline: str, candidates: Sequence[str], half_width: float, threads: int) -> bool:
    """Whether every candidate's interval at the stricter level is within `half_width` of its ratio (a share of it)."""
    clock = judging_clock(rounds, (baseline, *candidates), threads)
    for candidate in candidates:
        ratio = _ratio(rounds, baseline, candidate, clock, PEEKED_CONFIDENCE)
        if not ratio.high - ratio.low <= 2 * half_width * ratio.value:
            return False
    return True


def _ratio(rounds: Sequence[Round], baseline: str, candidate: str, clock: Clock, confidence: float = 0.95) -> Ratio:
    return ratio_over_rounds(medians(rounds, candidate, clock), medians(rounds, baseline, clock), confidence)


def _median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a median by order statistics; the extremes where there are fewer than six values."""
    from scipy.stats import binom

    ordered = sorted(values)
    rank = int(binom.ppf(0.025, len(ordered), 0.5))
    return ordered[max(rank - 1, 0)], ordered[min(len(ordered) - rank, len(ordered) - 1)]


def _tail_intervals(loads: Sequence[np.ndarray], shares: tuple[float, ...]) -> list[tuple[float, float]]:
    """The 95 % intervals of quantiles of all calls, by drawing the loads anew: calls of one load are alike."""
    draw = np.random.default_rng(0)
    drawn = [
        np.quantile(np.concatenate([loads[i] for i in draw.integers(len(loads), size=len(loads))]), shares)
        for _ in range(RESAMPLES)
    ]
    lows, highs = np.quantile(drawn, (0.025, 0.975), axis=0)
    return [(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]


def _reading(measured: Round, artifact: str) -> Reading:
    return next(r for r in measured.readings if r.artifact == artifact)


def _times(reading: Reading, clock: Clock) -> tuple[float, ...]:
    return reading.wall_s if clock == "wall" else reading.cpu_s
