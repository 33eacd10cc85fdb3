"""LiteRT's benchmark_litert_model, which ai-edge-litert has from 2.3 on: its compiled model, timed from Python.

It writes milliseconds with two digits, whatever they are of: models that take less than a millisecond are told badly.
"""

import re

from edgekit.bench.runners.timing import Job, Tells, Timing, number
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

MODULE = "ai_edge_litert.tools.benchmark_litert_model"
STEP_S = 1e-5
WARM_CALLS, CALLS, MOST_CALLS = 20, 50, 2000
_FIGURE = re.compile(r"^(Model initialization|Warmup|Inference)(?: \((\w{1,10})\))?: {1,20}(\S{1,40}) ms", re.MULTILINE)
_RUNS = re.compile(r"^Inference \(avg\):.{1,60}\((\d{1,9}) runs\)", re.MULTILINE)
_COMPLAINT = re.compile(
    r"^(?:\w{1,40}(?:Error|Exception): .{1,400}|.{0,40} ERROR .{1,400}|ERROR: .{1,400})$", re.MULTILINE
)


class BenchmarkLitertModel:
    """The median and the 95th percentile of a call, in hundredths of a millisecond."""

    name = "benchmark_litert_model"
    tells = Tells(times="median", more=("p95", "load", "first call"))

    def command(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Runner.command`; it is told how often to call the model, not for how long."""
        calls = max(CALLS, min(MOST_CALLS, job.calls_least))
        return (
            *program, f"--model={job.model}", f"--num_threads={job.threads}", f"--warmup_runs={WARM_CALLS}",
            f"--num_runs={calls}",
        )  # fmt: skip

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`."""
        told = {(what, which): text for what, which, text in _FIGURE.findall(said)}
        runs = _RUNS.search(said)
        if runs is None or ("Inference", "median") not in told:
            complaints = "; ".join(_COMPLAINT.findall(said))
            raise MeasureError(
                f"{device}: {self.name} gave no times: {readable(complaints or said) or 'it said nothing'}"
            )
        ms = {key: number(text, 1e-3) for key, text in told.items()}
        p50_s = ms["Inference", "median"]
        if p50_s is None:
            raise MeasureError(
                f"{device}: {self.name} gave the time of a call as {readable(told['Inference', 'median'], 40)} ms: "
                f"it tells no less than {STEP_S * 1e3:g} ms"
            )
        return Timing(
            calls=int(runs[1]), mean_s=ms.get(("Inference", "avg")), p50_s=p50_s, p95_s=ms.get(("Inference", "p95")),
            least_s=ms.get(("Inference", "min")), load_s=ms.get(("Model initialization", "")),
            first_call_s=ms.get(("Warmup", "first")), step_s=STEP_S,
        )  # fmt: skip
