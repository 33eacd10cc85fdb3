"""A benchmark_model that is not LiteRT's: it takes the documented options and answers in the documented words.

Tests put it onto a phone or a board of the lab, where it stands for the program that a user brings. What it says of a
model is measured: ai-edge-litert runs the file on this computer. `mood` makes it fail as such a program may; in a brief
one its times are made up.
"""

import os
import random
import resource
import statistics
import sys
import time
from pathlib import Path

MOODS = ("well", "old", "brief", "crash", "hang", "garbage", "nan", "full", "wrong", "illegal")
OPTIONS = frozenset({
    "graph", "num_threads", "use_xnnpack", "warmup_runs", "warmup_min_secs", "num_runs", "min_secs", "max_secs",
    "input_layer", "input_layer_shape", "input_layer_value_files", "report_peak_memory_footprint",
    "enable_op_profiling", "output_filepath",
})  # fmt: skip
"""Those of tflite/tools/benchmark/README.md in LiteRT's repository that edgekit gives."""
NEW = frozenset({"output_filepath"})
"""Those that older builds do not have: they warn, and go on."""


def put(folder: Path, mood: str = "well") -> Path:
    """Makes `folder`/benchmark_model that program; the words of each start are lines of `folder`/log."""
    assert mood in MOODS
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "benchmark_model"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {mood} {folder}/log "$@"\n')
    program.chmod(0o755)
    return program


def log(folder: Path) -> list[str]:
    """The words of each time that it was started."""
    path = folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def main(mood: str, log_path: str, *words: str) -> int:
    """Does what benchmark_model would; its exit status."""
    with Path(log_path).open("a") as file:
        file.write(" ".join(words) + "\n")
    given = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    print("INFO: STARTING!")
    if unknown := sorted(set(given) - OPTIONS | (set(given) & NEW if mood == "old" else set())):
        print(f"WARN: Unconsumed cmdline flags: {' '.join(f'--{name}' for name in unknown)}")
    print(f"INFO: Graph: [{given['graph']}]", flush=True)
    if mood == "crash":
        os.kill(os.getpid(), 11)
    if mood == "illegal":
        os.kill(os.getpid(), 4)
    if mood == "hang":
        time.sleep(60)
    if mood == "garbage":
        print("\x1b[2J\0" + "count=" * 9000)
        return 0
    if mood == "full":
        print("ERROR: write error: No space left on device", file=sys.stderr)
        return 1
    try:
        model = Model(given)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"ERROR: Failed to load model {given['graph']} ({str(error)[:80]})\nERROR: Benchmarking failed.")
        return 1
    print(f"INFO: Loaded model {given['graph']}")
    share = 0 if mood == "brief" else 1
    warm = model.call(int(given["warmup_runs"]), share * float(given["warmup_min_secs"]))
    print(line(warm, mood) + "\n")
    calls = model.call(int(given["num_runs"]), share * float(given["min_secs"]))
    if mood == "brief":
        calls = made_up(Path(given["graph"]).stat().st_size, len(calls))
    print(line(calls, mood) + "\n")
    mean = "nan" if mood == "nan" else f"{statistics.fmean(calls):.6g}"
    first, warm_mean = (warm or [0])[0], statistics.fmean(warm) if warm else 0
    print(
        f"INFO: Inference timings in us: Init: {model.load_us}, First inference: {first}, "
        f"Warmup (avg): {warm_mean:.6g}, Inference (avg): {mean}"
    )
    print("INFO: Memory footprint delta from the start of the tool (MB): init=1.5 overall=2.25")
    if given.get("report_peak_memory_footprint") == "true" and mood != "old":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"INFO: Overall peak memory footprint (MB) via periodic monitoring: {peak:.6g}")
    if given.get("enable_op_profiling") == "true":
        print(profile(statistics.fmean(calls) / 1e3))
    if "output_filepath" in given and mood != "old":
        Path(given["output_filepath"]).write_bytes(model.outputs(off=1.0 if mood == "wrong" else 0.0))
    return 0


class Model:
    """A file that LiteRT has loaded, with its inputs filled."""

    def __init__(self, given: dict[str, str]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        began = time.perf_counter()
        self._run = Interpreter(model_path=given["graph"], num_threads=int(given["num_threads"]))
        self._run.allocate_tensors()
        self.load_us = round((time.perf_counter() - began) * 1e6)
        files = [pair.partition(":")[2] for pair in given.get("input_layer_value_files", "").split(",") if pair]
        shapes = [tuple(map(int, text.split(","))) for text in given.get("input_layer_shape", "").split(":") if text]
        for detail, file, shape in zip(self._run.get_input_details(), files, shapes, strict=True):
            self._fill(detail, Path(file).read_bytes(), shape)

    def _fill(self, detail: dict, raw: bytes, shape: tuple[int, ...]) -> None:
        import numpy as np

        if tuple(detail["shape"]) != shape or len(raw) != np.dtype(detail["dtype"]).itemsize * int(np.prod(shape)):
            raise ValueError(f"input of {len(raw)} bytes for {shape}, want {detail['shape']}")
        self._run.set_tensor(detail["index"], np.frombuffer(raw, detail["dtype"]).reshape(shape))

    def call(self, least: int, seconds: float) -> list[int]:
        """The microseconds of each call."""
        found: list[int] = []
        began = time.perf_counter()
        while len(found) < least or time.perf_counter() - began < seconds:
            t0 = time.perf_counter()
            self._run.invoke()
            found.append(max(round((time.perf_counter() - t0) * 1e6), 1))
        return found

    def outputs(self, *, off: float) -> bytes:
        """The raw numbers of all outputs."""
        return b"".join((self._run.get_tensor(d["index"]) + off).astype(d["dtype"]).tobytes()
                        for d in self._run.get_output_details())  # fmt: skip


def made_up(size: int, count: int) -> list[int]:
    """Times by the size of a file, for tests of what is done with them."""
    draw = random.Random(time.monotonic_ns())
    return [1000 + round(size * (1 + 0.01 * draw.random())) for _ in range(count)]


def line(us: list[int], mood: str) -> str:
    """A line of statistics as stats_calculator.h writes it."""
    if not us:
        return "INFO: count=0"
    words = f"INFO: count={len(us)} first={us[0]} curr={us[-1]} min={min(us)} max={max(us)} "
    words += f"avg={statistics.fmean(us):.6g} std={round(statistics.pstdev(us))}"
    if len(set(us)) == 1:
        words = f"INFO: count={len(us)} curr={us[-1]}" + ("(all same)" if len(us) > 1 else "")
    if mood == "nan":
        words = f"INFO: count={len(us)} first=nan curr=nan min=nan max=nan avg=nan std=nan"
    ordered = sorted(us)
    percentiles = (ordered[len(us) * p // 100] for p in (5, 50, 95))
    return words if mood == "old" else words + " p5={} median={} p95={}".format(*percentiles)


HEADS = ("[node type]", "[first]", "[avg ms]", "[%]", "[cdf%]", "[mem KB]", "[times called]", "[Name]")


def profile(ms: float) -> str:
    """The tables of a profile: that of the initialization, of the runs, and inside the delegate."""

    def tables(*rows: tuple[str, float, str]) -> str:
        lines = [(kind, f"{t:.3f}", f"{t:.3f}", "50%", "50%", "0.000", "1", name) for kind, t, name in rows]
        text = "\n".join("\t\t" + "\t".join(cell.rjust(9) for cell in line) for line in (HEADS, *lines))
        titles = ("Run Order", "Top by Computation Time")
        return "\n\n".join(f"{'=' * 30} {title} {'=' * 30}\n{text}" for title in titles)

    conv, gemm = "Delegate/Convolution (NHWC, QC8) IGEMM:0", "Delegate/Fully Connected (NC, QS8, QC8W) GEMM:1"
    return "\n".join((
        "INFO: Profiling Info for Benchmark Initialization:", tables(("ModifyGraphWithDelegate", 3.25, "x/0")),
        "INFO: Operator-wise Profiling Info for Regular Benchmark Runs:",
        tables(("TfLiteXNNPackDelegate", ms * 0.75, "[y]:8"), ("SOFTMAX", ms * 0.25, "[z]:9")),
        "Delegate internal: ", tables(("DelegateOpInvoke", ms * 0.5, conv), ("DelegateOpInvoke", ms * 0.25, gemm)),
    ))  # fmt: skip


if __name__ == "__main__":
    sys.path.remove(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    sys.exit(main(*sys.argv[1:]))
