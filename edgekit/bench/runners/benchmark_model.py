"""LiteRT's benchmark_model, which the user brings: it runs where there is no Python, as on Android.

The text is that of tflite/tools/benchmark (benchmark_model.cc, benchmark_tflite_model.cc) and of stats_calculator.h in
LiteRT's and TensorFlow's repositories. Unknown options are left alone by it, with a warning: older builds have fewer.
"""

import re

from edgekit.bench.runners.timing import Job, Tells, Timing, complaints, number
from edgekit.core.measurement import OpTime
from edgekit.devices.said import readable
from edgekit.errors import MeasureError, TargetError

STEP_S = 1e-6
"""It counts whole microseconds."""
MOST_S = 150
_NUMBER = r"([-+.\deE]{1,40}|[-+]?nan|[-+]?inf)"
_COUNT = re.compile(r"count=(\d{1,12})((?: \w{1,20}=[-+.\dA-Za-z]{1,40}(?:\(all same\))?)+)")
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, "
    rf"Inference \(avg\): {_NUMBER}"
)
_PEAKS = (
    re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}"),
    re.compile(rf"Peak memory footprint \(MB\): init={_NUMBER} overall={_NUMBER}"),
)
"""What the process took in all. "Memory footprint delta from the start of the tool" is another figure, and no peak."""
_RUNS = "Operator-wise Profiling Info for Regular Benchmark Runs:"
_TITLE = re.compile(r"={10,} ([A-Za-z ]{1,60}) ={10,}")
_INSIDE = "Delegate internal:"


class BenchmarkModel:
    """The mean and, from newer builds, the median and the 95th percentile of a call, in whole microseconds."""

    name = "benchmark_model"
    tells = Tells(times="median", more=("p95", "load", "first call", "memory", "outputs", "ops"))

    def command(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Runner.command`.

        >>> words = BenchmarkModel().command(Job(model="m.tflite", run_s=1), ("benchmark_model",))
        >>> words[:3]
        ('benchmark_model', '--graph=m.tflite', '--num_threads=1')
        """
        return (
            *program, f"--graph={job.model}", f"--num_threads={job.threads}", "--use_xnnpack=true",
            "--warmup_runs=1", f"--warmup_min_secs={job.warm_s:g}", f"--num_runs={job.calls_least}",
            f"--min_secs={job.run_s:g}", f"--max_secs={MOST_S}", *_inputs(job),
        )  # fmt: skip

    def parse(self, said: str, device: str) -> Timing:
        """As `Runner.parse`: of the two lines of statistics the last, which is not the warm-up's."""
        runs, timings = _COUNT.findall(said), _TIMINGS.search(said)
        if not runs or timings is None:
            raise MeasureError(f"{device}: benchmark_model gave no timings: {complaints(said)}")
        count, fields = runs[-1]
        us = dict(re.findall(r"(\w+)=([^\s(]+)", fields))
        mean_s = number(us.get("avg") or timings[4], STEP_S)
        median = us.get("median")
        if int(count) < 1 or mean_s is None or (median is not None and number(median) is None):
            raise MeasureError(
                f"{device}: benchmark_model gave a time that is none: {readable(f'count={count}{fields}')}"
            )
        return Timing(
            calls=int(count), mean_s=mean_s, p50_s=number(median, STEP_S), p95_s=number(us.get("p95"), STEP_S),
            least_s=number(us.get("min") or us.get("curr"), STEP_S), load_s=number(timings[1], STEP_S),
            first_call_s=number(timings[2], STEP_S), peak_memory_bytes=_peak(said), step_s=STEP_S if median else None,
        )  # fmt: skip

    def memory_words(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Weighs.memory_words`: asking takes a thread of its own, so it is not done where calls are timed."""
        return (*self.command(job, program), "--report_peak_memory_footprint=true")

    def output_words(self, job: Job, program: tuple[str, ...], path: str) -> tuple[str, ...]:
        """As `Computes.output_words`."""
        once = ("--warmup_runs=0", "--warmup_min_secs=0", "--num_runs=1", "--min_secs=0")
        return (
            *program, f"--graph={job.model}", f"--num_threads={job.threads}", "--use_xnnpack=true", *once,
            *_inputs(job), f"--output_filepath={path}",
        )  # fmt: skip

    def profile_words(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """As `Profiles.profile_words`."""
        return (*self.command(job, program), "--enable_op_profiling=true")

    def parse_ops(self, said: str, device: str) -> tuple[OpTime, ...]:
        """As `Profiles.parse_ops`. What runs in XNNPACK has a table of its own, where the build has one."""
        self.parse(said, device)
        _, _, runs = said.partition(_RUNS)
        whole, _, inside = runs.partition(_INSIDE)
        ops = _table(whole)
        within = _table(inside)
        if within:  # the delegate as one op is the sum of these
            ops = [op for op in ops if "delegate" not in op.op.lower()] + within
        total = sum(op.seconds for op in ops) or 1.0
        found = (OpTime(name=op.name, op=op.op, seconds=op.seconds, share=op.seconds / total) for op in ops)
        return tuple(sorted(found, key=lambda op: -op.seconds))


def _inputs(job: Job) -> tuple[str, ...]:
    """Its names for the inputs need not be those of the model, their order is. A colon in a path is doubled.

    Raises: TargetError for a path that the option cannot hold.
    """
    if not job.inputs:
        return ()
    if odd := [path for path, _ in job.inputs if "," in path]:
        raise TargetError(f"input file {odd[0]!r}: benchmark_model takes no comma: give the device another root")
    names = [f"in_{i}" for i in range(len(job.inputs))]
    shapes = ":".join(",".join(map(str, shape)) for _, shape in job.inputs)
    files = ",".join(f"{name}:{path.replace(':', '::')}" for name, (path, _) in zip(names, job.inputs, strict=True))
    return (
        f"--input_layer={','.join(names)}", f"--input_layer_shape={shapes}", f"--input_layer_value_files={files}",
    )  # fmt: skip


def _peak(said: str) -> int | None:
    told = next((found[found.re.groups] for form in _PEAKS if (found := form.search(said))), None)
    peak = number(told, 2**20)
    return None if peak is None else round(peak)


def _table(text: str) -> list[OpTime]:
    """The ops in the first table of a profile, in the order they run."""
    found: list[OpTime] = []
    columns: list[str] = []
    titles = 0
    for line in text.splitlines():
        if _TITLE.search(line):
            titles += 1
            if titles > 1:
                break
            continue
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if "[node type]" in cells:
            columns = [cell.strip("[]") for cell in cells]
        elif columns and len(cells) == len(columns):
            row = dict(zip(columns, cells, strict=True))
            seconds = number(row.get("avg ms"), 1e-3) or 0.0
            kind, name = readable(row["node type"], 60), readable(row.get("Name", ""), 200)
            found.append(OpTime(name=name, op=kind, seconds=seconds, share=0.0))
    return found
