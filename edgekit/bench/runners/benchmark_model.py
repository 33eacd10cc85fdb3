"""LiteRT's benchmark_model, which the user brings: it runs where there is no Python, as on Android.

The text is that of tensorflow/lite/tools/benchmark (benchmark_model.cc and its StatWithPercentiles).
"""

import re

from edgekit.bench.runners.timing import Timing
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

RUN_S, RUNS = 1, 50
_NUMBER = r"([-+.\deE]+)"
_COUNT = re.compile(r"count=(\d+)((?: [\w]+=[-+.\deEnaif]+)+)")
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, "
    rf"Inference \(avg\): {_NUMBER}"
)
_PEAKS = (
    re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}"),
    re.compile(rf"Peak memory footprint \(MB\): init={_NUMBER} overall={_NUMBER}"),
)
"""What the process took in all. "Memory footprint delta from the start of the tool" is another figure, and no peak."""


class BenchmarkModel:
    """The mean and, from newer builds, the median of a call."""

    name = "benchmark_model"

    def command(self, model: str, *, threads: int, program: str | None = None) -> tuple[str, ...]:
        """As `Runner.command`."""
        return (
            program or "benchmark_model", f"--graph={model}", f"--num_threads={threads}", f"--num_runs={RUNS}",
            f"--min_secs={RUN_S}", "--use_xnnpack=true",
        )  # fmt: skip

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`: of the two lines of statistics the last, which is not the warm-up's."""
        runs, timings = _COUNT.findall(said), _TIMINGS.search(said)
        if not runs or timings is None:
            raise MeasureError(f"{device}: benchmark_model gave no timings: {readable(said[-400:])}")
        count, fields = runs[-1]
        us = {name: float(value) for name, value in re.findall(rf"(\w+)={_NUMBER}", fields)}
        peak = next((float(found[found.re.groups]) for form in _PEAKS if (found := form.search(said))), None)
        return Timing(
            calls=int(count), mean_s=us.get("avg", float(timings[4])) * 1e-6, p50_s=_seconds(us.get("median")),
            p95_s=_seconds(us.get("p95")), least_s=_seconds(us.get("min")), load_s=float(timings[1]) * 1e-6,
            first_call_s=float(timings[2]) * 1e-6,
            peak_memory_bytes=None if peak is None or peak < 0 else round(peak * 1e6),
        )  # fmt: skip


def _seconds(us: float | None) -> float | None:
    return None if us is None else us * 1e-6
