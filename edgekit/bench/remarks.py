"""What is to be said beside a result: disturbances, heat, drift, forms without a steady state. Pure."""

from collections.abc import Sequence

import numpy as np

from edgekit.bench.statistics import is_disturbed, medians
from edgekit.core.measurement import Round

DRIFT = 0.05
WARMER_C = 5.0


def remarks(rounds: Sequence[Round], baseline: str, candidate: str, *, threads: int = 1) -> tuple[str, ...]:
    """One line for each thing that a reader of a comparison should know; empty for a quiet device."""
    said = []
    if is_disturbed(rounds, (baseline, candidate), threads):
        said.append("other programs took part: ratios are of the process's CPU time, not of the wall clock")
    drift = drift_over(rounds, baseline)
    if abs(drift) > DRIFT:
        said.append(f"the baseline became {abs(drift):.0%} {'slower' if drift > 0 else 'faster'} over the rounds")
    if any(q.throttled for q in rounds):
        said.append("the device was throttled (heat or low voltage) in some rounds")
    temperatures = [q.temperature_c for q in rounds if q.temperature_c is not None]
    if temperatures and max(temperatures) - temperatures[0] > WARMER_C:
        said.append(f"the device warmed from {temperatures[0]:.0f} to {max(temperatures):.0f} °C")
    for name, artifact in (("baseline", baseline), ("candidate", candidate)):
        loads = [r.steady for q in rounds for r in q.readings if r.artifact == artifact]
        if loads.count(False) * 2 > len(loads):
            said.append(f"the {name} found no steady state in {loads.count(False)} of {len(loads)} loads")
    return tuple(said)


def drift_over(rounds: Sequence[Round], baseline: str) -> float:
    """The share by which the baseline's time changed from first to last round; 0 where that may be chance.

    The slope of a line through the logarithms, if Student's t finds it at 1 %.
    """
    seconds = np.log(np.asarray(medians(rounds, baseline, "cpu")).clip(1e-9))
    n = len(seconds)
    if n < 5:
        return 0.0
    from scipy.stats import linregress

    line = linregress(np.arange(n), seconds)
    return float(np.expm1(line.slope * (n - 1))) if line.pvalue < 0.01 else 0.0
