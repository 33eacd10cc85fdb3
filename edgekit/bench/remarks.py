"""What is to be said beside a result: disturbances, heat, drift, forms without a steady state. Pure."""

from collections.abc import Sequence

from edgekit.bench.states import alike, left_out, slope_per_minute
from edgekit.bench.statistics import is_disturbed, tells_cpu
from edgekit.core.measurement import Round

SLOPE = 0.005
WARMER_C = 5.0


def remarks(rounds: Sequence[Round], baseline: str, candidate: str, *, threads: int = 1) -> tuple[str, ...]:
    """One line for each thing that a reader of a comparison should know; empty for a quiet device."""
    said = []
    if is_disturbed(rounds, (baseline, candidate), threads):
        whose = "the process's CPU time, not of the wall clock"
        if not tells_cpu(rounds, (baseline, candidate)):
            whose = "the wall clock, since one of the two runtimes tells no CPU time"
        said.append(f"other programs took part: ratios are of {whose}")
    slope = slope_per_minute(rounds, baseline)
    if slope is not None and abs(slope) > SLOPE:
        said.append(f"the baseline became {abs(slope):.1%} a minute {'slower' if slope > 0 else 'faster'}")
    if (why := left_out(rounds)) is not None:
        said.append(f"{why}: {len(alike(rounds))} rounds of one state count")
    elif any(q.throttled for q in rounds):
        said.append("the device was slowed down against heat or low voltage in all rounds")
    temperatures = [q.temperature_c for q in rounds if q.temperature_c is not None]
    if temperatures and max(temperatures) - temperatures[0] > WARMER_C:
        said.append(f"the device warmed from {temperatures[0]:.0f} to {max(temperatures):.0f} °C")
    for name, artifact in (("baseline", baseline), ("candidate", candidate)):
        loads = [r.steady for q in rounds for r in q.readings if r.artifact == artifact]
        if loads.count(False) * 2 > len(loads):
            said.append(f"the {name} found no steady state in {loads.count(False)} of {len(loads)} loads")
    return tuple(said)
