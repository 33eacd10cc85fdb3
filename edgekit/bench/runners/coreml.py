"""A Mac's Core ML through coremltools' MLModelBenchmarker (coremltools 9.0, models/ml_program/experimental).

A few lines of Python run on the Mac, in the Python there that has coremltools; each call's time is Core ML's own.
"""

from typing import Annotated

import msgspec
import numpy as np

from edgekit.bench.runners.timing import Timing
from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.devices.scripts import on_device
from edgekit.errors import MeasureError

CALLS = 50
MOST_CALLS = 10_000
_MARK = "@coreml "
_Ms = Annotated[float, msgspec.Meta(gt=0)]


class _Said(Noun, frozen=True, kw_only=True):
    version: str = ""
    load_ms: _Ms | None = None
    first_ms: _Ms | None = None
    calls_ms: Annotated[tuple[_Ms, ...], msgspec.Meta(max_length=MOST_CALLS)] = ()
    error: str | None = None


class CoreMl:
    """The times of single calls, on whichever of the Mac's units Core ML puts each op."""

    name = "MLModelBenchmarker"

    def command(self, model: str, *, threads: int, program: str | None = None) -> tuple[str, ...]:
        """As `Runner.command`; `program` is the Python there. Core ML chooses its threads itself."""
        return (program or "python3", "-c", on_device("coreml_times.py").decode(), model, str(CALLS))

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        lines = [line.removeprefix(_MARK) for line in said.splitlines() if line.startswith(_MARK)]
        try:
            found = msgspec.json.decode(lines[-1] if lines else "", type=_Said)
        except msgspec.DecodeError:
            raise MeasureError(f"{device}: {self.name} gave no times: {readable(said[-400:])}") from None
        if found.error is not None or not found.calls_ms:
            raise MeasureError(f"{device}: {self.name}: {readable(found.error or 'made no call')}")
        calls_s = np.asarray(found.calls_ms) * 1e-3
        p50_s, p90_s, p95_s, p99_s = (float(np.quantile(calls_s, q)) for q in (0.5, 0.9, 0.95, 0.99))
        return Timing(
            calls=len(calls_s), mean_s=float(np.mean(calls_s)), p50_s=p50_s, p90_s=p90_s, p95_s=p95_s, p99_s=p99_s,
            least_s=float(np.min(calls_s)), load_s=_seconds(found.load_ms), first_call_s=_seconds(found.first_ms),
            version=readable(found.version, 40) or None,
        )  # fmt: skip


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms * 1e-3
