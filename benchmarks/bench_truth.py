"""B9: whether a comparison tells the truth on a device that other programs use and that grows slower by the minute.

`python benchmarks/bench_truth.py [--quick] [--rounds N] [--json]`: three forms are measured in rounds by the real agent
and runtime while busy loops come and go on all cores: one net, the same net again (a ratio of 1), and a net of three
times its layers. Each comparison is cut from rounds of its own, as many as the rule for stopping takes; a drift of up
to ±10 % is laid over the times of each. False alarms are A/A comparisons called faster or slower; coverage is how often
the 95 % interval holds the truth, which is 1 for A/A, and for the larger net the ratio of all these rounds together:
that of a quiet run, which is told too, is another, since busy loops on the same caches slow the smaller net less.
Besides: what the agent adds to a call, and how long it takes to know a ratio within 1 %, against the rules by which
benchmark_model (0.5 s of warm-up, then 50 runs and 1 s at least, one after the other) and MLPerf's loadgen (single
stream, 100 queries and 10 s at least) would measure the same two nets on the same busy machine.
"""

import argparse
import contextlib
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from _figures import Figures, bench_here, say

from edgekit.bench.session import Bench, Form, Plan
from edgekit.bench.statistics import compare, enough
from edgekit.core.measurement import Reading, Round

PLAN = Plan(half_width=0.02, least=10, most=24, seconds=0.02, calls_least=7, calls_most=60, warmup_s=0.5)
DRIFT = 0.10
NOISE = """
import random, sys, time
draw = random.Random(int(sys.argv[1]))
while True:
    end = time.perf_counter() + draw.expovariate(1 / 0.4)
    while time.perf_counter() < end:
        sum(range(2000))
    time.sleep(draw.expovariate(1 / 0.8))
"""

# From one call of nothing to the next: the clocks, and the search for a steady state.
OVERHEAD = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
from agent import calls, runtimes
at = []
class Nothing:
    def __init__(self, path, threads): at.clear()
    def run(self, inputs): at.append(time.perf_counter())
runtimes.RUNTIMES["nothing"] = Nothing
import agent.forms
agent.forms.RUNTIMES["nothing"] = Nothing
form = {"id": "x", "path": "x", "inputs": sys.argv[2]}
job = {"runtime": "nothing", "threads": 1, "seconds": 1e9, "calls_least": 7, "calls_most": 200, "warmup_s": 1e9}
spent = []
for _ in range(60):
    calls.read_form(form, job)
    spent.append((at[-1] - at[1]) / (len(at) - 2))
print(json.dumps(sorted(spent)[len(spent) // 2] * 1e6))
"""

RULES = """
import json, sys, time
import numpy, onnxruntime
rule, inputs, *paths = sys.argv[1:]
x = numpy.load(inputs)["in_0"][:1]
found = []
for path in paths:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    def call(): session.run(None, {"in_0": x})
    warm, least, seconds = {"benchmark_model": (0.5, 50, 1.0), "loadgen": (0.0, 100, 10.0)}[rule]
    end = time.perf_counter() + warm
    while time.perf_counter() < end: call()
    times, began = [], time.perf_counter()
    while len(times) < least or time.perf_counter() - began < seconds:
        t = time.perf_counter(); call(); times.append(time.perf_counter() - t)
    found.append(float(numpy.mean(times) if rule == "benchmark_model" else numpy.quantile(times, 0.9)))
print(json.dumps(found[1] / found[0]))
"""
"""The figure that each tool gives first: benchmark_model's average, loadgen's 90th percentile in single stream."""


def write_net(path: Path, layers: int) -> None:
    """Convolutions of 24 channels at 28×28, `layers` of them."""
    import onnx

    helper, weight = onnx.helper, np.full((24, 24, 3, 3), 0.01, np.float32)
    nodes = [
        helper.make_node("Conv", [f"v{i}" if i else "in_0", "w"], [f"v{i + 1}"], pads=[1, 1, 1, 1])
        for i in range(layers)
    ]
    values = [helper.make_tensor_value_info(name, 1, [1, 24, 28, 28]) for name in ("in_0", f"v{layers}")]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], [onnx.numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def forms(folder: Path) -> tuple[Form, ...]:
    """One net under two names, and one of three times its layers."""
    np.savez(folder / "in.npz", in_0=np.random.default_rng(0).normal(size=(4, 24, 28, 28)).astype(np.float32))
    for name, layers in (("a", 3), ("again", 3), ("larger", 9)):
        write_net(folder / f"{name}.onnx", layers)
    return tuple(
        Form(id=name, path=str(folder / f"{name}.onnx"), inputs=str(folder / "in.npz"))
        for name in ("a", "again", "larger")
    )


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Busy loops that come and go, one for each core."""
    loops = [subprocess.Popen([sys.executable, "-c", NOISE, str(i)]) for i in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def gather(bench: Bench, found: tuple[Form, ...], count: int, seed: int) -> list[Round]:
    plan = msgspec.structs.replace(
        PLAN, half_width=1e-9, least=count, most=count, budget_s=1e9, deadline_s=3600.0, seed=seed, per_process=3
    )

    def told(one: Round) -> None:
        if (one.index + 1) % 500 == 0:
            say(f"round {one.index + 1} of {count}")

    return list(bench.rounds(found, "a", plan, on_round=told))


def drifting(rounds: Sequence[Round], share: float) -> list[Round]:
    """The same rounds on a device that becomes slower, or faster, by `share` from the first to the last."""
    slope, found = share / len(rounds), []
    for number, one in enumerate(rounds):
        readings = [
            _slowed(reading, 1 + slope * (number + place / len(one.readings)))
            for place, reading in enumerate(one.readings)
        ]
        found.append(msgspec.structs.replace(one, readings=tuple(readings)))
    return found


def _slowed(reading: Reading, factor: float) -> Reading:
    return msgspec.structs.replace(
        reading, wall_s=tuple(t * factor for t in reading.wall_s), cpu_s=tuple(t * factor for t in reading.cpu_s)
    )


def comparisons(rounds: Sequence[Round], other: str, seed: int) -> Iterator[tuple[str, float, float, float]]:
    """(verdict, ratio, low, high) of comparisons that share no round, each with a drift of its own."""
    draw, start = random.Random(seed), 0
    while start + PLAN.most <= len(rounds):
        own = drifting(rounds[start : start + PLAN.most], draw.uniform(-DRIFT, DRIFT))
        taken = PLAN.least
        while taken < PLAN.most and not enough(own[:taken], "a", [other], PLAN.half_width, 1):
            taken += 1
        found = compare(own[:taken], "here", "a", other)
        yield found.verdict, found.ratio.value, found.ratio.low, found.ratio.high
        start += taken


def interval(hits: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share, in percent."""
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, count - hits + 1))
    high = 1.0 if hits == count else float(beta.ppf(0.975, hits + 1, count - hits))
    return 100 * low, 100 * high


def seconds_to_know(ratios: Sequence[float], truth: float, each_s: float) -> float:
    """How long a rule must be repeated until its mean is within 1 % of the truth 95 times of 100."""
    spread = float(np.sqrt(np.mean((np.log(ratios) - math.log(truth)) ** 2)))
    return each_s * max(1.0, (1.96 * spread / 0.01) ** 2)


def by_rule(rule: str, found: tuple[Form, ...], count: int) -> tuple[list[float], float]:
    """Ratios of the larger net to the first as `rule` gives them, and the seconds that each took."""
    ratios, began = [], time.perf_counter()
    for _ in range(count):
        words = [sys.executable, "-c", RULES, rule, found[0].inputs, found[0].path, found[2].path]
        ratios.append(float(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    return ratios, (time.perf_counter() - began) / count


def by_rounds(bench: Bench, found: tuple[Form, ...], count: int) -> tuple[list[float], float]:
    """The same by edgekit's own rule, within 1 %."""
    ratios, began = [], time.perf_counter()
    for number in range(count):
        plan = Plan(half_width=0.01, seconds=0.02, calls_most=60, warmup_s=0.5, seed=number)
        rounds = bench.rounds((found[0], found[2]), "a", plan)
        ratios.append(compare(rounds, "here", "a", "larger").ratio.value)
    return ratios, (time.perf_counter() - began) / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds: about 4 minutes on 2 cores")
    parser.add_argument("--rounds", type=int, metavar="N", help="this many: ten or so make a comparison of each kind")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = Figures("bench_truth", "1 thread, busy loops on all cores")
    count, quiet, repeats = (1_000, 100, 3) if args.quick else (10_000, 500, 15)
    count = args.rounds or count
    with bench_here() as (bench, folder):
        found = forms(folder)
        calm = gather(bench, found, quiet, seed=1)
        with busy():
            rounds = gather(bench, found, count, seed=2)
        for where, taken in (("quiet", calm), ("beside busy loops", rounds)):
            truth = compare(taken, "here", "a", "larger").ratio
            figures.add(f"the larger net's ratio, {where}", truth.value, None, low=truth.low, high=truth.high, unit="x")
        told = list(comparisons(rounds, "again", seed=3))
        alarms = sum(verdict != "no difference" for verdict, *_ in told)
        low, high = interval(alarms, len(told))
        figures.add(f"false alarms of {len(told)} A/A comparisons", 100 * alarms / len(told), None, low=low, high=high)
        figures.add("  at the least, by the binomial interval", low, 5.0)
        for name, other, true in (("A/A", "again", 1.0), ("larger", "larger", truth.value)):
            cut = told if other == "again" else list(comparisons(rounds, other, seed=4))
            held = sum(lower <= true <= upper for _, _, lower, upper in cut)
            low, high = interval(held, len(cut))
            figures.add(
                f"{name}: 95 % intervals that hold the truth, of {len(cut)}",
                100 * held / len(cut),
                None,
                low=low,
                high=high,
            )
            figures.add(f"{name}:   at the most, by the binomial interval", high, 93.0, larger_is_better=True)
            figures.add(f"{name}:   at the least, by the binomial interval", low, 97.0)
        words = [sys.executable, "-c", OVERHEAD, bench.command[-1], found[0].inputs]
        added = float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        figures.add("what the agent adds to a call", added, 20.0, unit="µs")
        with busy():
            ratios, each_s = by_rounds(bench, found, repeats)
            ours = seconds_to_know(ratios, truth.value, each_s)
            figures.add("seconds to know a ratio within 1 %: edgekit", ours, None, unit="s")
            for rule in ("benchmark_model", "loadgen"):
                say(f"the rule of {rule}")
                ratios, each_s = by_rule(rule, found, repeats)
                theirs = seconds_to_know(ratios, truth.value, each_s)
                figures.add(f"  by the rule of {rule}", theirs, None, unit="s")
                figures.add(f"  times as long by {rule}", theirs / ours, 1.0, larger_is_better=True, unit="x")
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
