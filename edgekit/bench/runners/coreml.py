"""A Mac's Core ML through coremltools' MLModelBenchmarker (coremltools 9.0, models/ml_program/experimental).

A few lines of Python run on the Mac, in the Python there that has coremltools; each call's time is Core ML's own. Never
run on a Mac here.
"""

from typing import Annotated

import msgspec
import numpy as np

from edgekit.bench.runners.timing import Job, Tells, Timing
from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.devices.scripts import on_device
from edgekit.errors import MeasureError

MOST_CALLS = 10_000
UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "cpu-and-gpu": "CPU_AND_GPU", "cpu-and-ne": "CPU_AND_NE"}
"""A target's word for what of the chip a model may use, and Core ML's."""
_CALLED = {"CPU": "the CPU", "GPU": "the GPU", "NeuralEngine": "the neural engine"}
_MARK = "@coreml "
_Ms = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Said(Noun, frozen=True, kw_only=True):
    version: str = ""
    load_ms: _Ms | None = None
    first_ms: _Ms | None = None
    calls_ms: Annotated[tuple[_Ms, ...], msgspec.Meta(max_length=MOST_CALLS)] = ()
    peak_bytes: _Count | None = None
    plan: dict[str, _Count] = msgspec.field(default_factory=dict)
    outputs: _Count = 0
    error: str | None = None


class CoreMl:
    """The times of single calls, on whichever of the Mac's units Core ML puts each op."""

    name = "MLModelBenchmarker"
    tells = Tells(times="calls", more=("load", "first call", "memory", "outputs"))

    def command(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Runner.command`; `program` is the Python there. Core ML chooses its threads itself."""
        return (*_script(program, "time", job), f"{job.warm_s:g}", f"{job.run_s:g}", str(job.calls_least))

    def output_words(self, job: Job, program: tuple[str, ...], path: str) -> tuple[str, ...]:
        """As `Computes.output_words`."""
        return (*_script(program, "call", job), path, *(source for source, _ in job.inputs))

    def plan_words(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """The words that say which unit each op goes to."""
        return _script(program, "plan", job)

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        found = read_answer(said, device)
        if not found.calls_ms:
            raise MeasureError(f"{device}: {self.name}: made no call")
        calls_s = tuple(ms * 1e-3 for ms in found.calls_ms)
        p50_s, p90_s, p95_s, p99_s = (float(np.quantile(calls_s, q)) for q in (0.5, 0.9, 0.95, 0.99))
        return Timing(
            calls=len(calls_s), mean_s=float(np.mean(calls_s)), p50_s=p50_s, p90_s=p90_s, p95_s=p95_s, p99_s=p99_s,
            least_s=min(calls_s), calls_s=calls_s, load_s=_seconds(found.load_ms),
            first_call_s=_seconds(found.first_ms), peak_memory_bytes=found.peak_bytes,
            version=readable(found.version, 40) or None,
        )  # fmt: skip


def read_answer(said: str, device: str) -> _Said:
    """The script's one line. Raises: MeasureError in its own words where it failed."""
    lines = [line.removeprefix(_MARK) for line in said.splitlines() if line.startswith(_MARK)]
    try:
        found = msgspec.json.decode(lines[-1] if lines else "", type=_Said)
    except (msgspec.DecodeError, RecursionError):
        why = readable(said[-400:]) or "it said nothing"
        raise MeasureError(f"{device}: {CoreMl.name} gave no times: {why}") from None
    if found.error is not None:
        raise MeasureError(f"{device}: {CoreMl.name}: {readable(found.error)}")
    return found


def plan_words_of(said: str, device: str) -> str:
    """Where Core ML would put the ops, in words; empty if it does not say. Raises: MeasureError.

    >>> plan_words_of('@coreml {"plan": {"CPU": 3, "NeuralEngine": 12}}', "mac")
    '12 ops on the neural engine, 3 on the CPU'
    """
    counts = sorted(dict(read_answer(said, device).plan).items(), key=lambda pair: -pair[1])
    words = [f"{count} on {_CALLED.get(unit, readable(unit, 20))}" for unit, count in counts]
    return ", ".join(words).replace(" on ", " ops on ", 1)


def _script(program: tuple[str, ...], what: str, job: Job) -> tuple[str, ...]:
    return (*program, "-c", on_device("coreml_times.py").decode(), what, job.model, UNITS.get(job.units, "ALL"))


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms * 1e-3
