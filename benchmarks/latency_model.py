"""B2: how well edgekit predicts the latency of mixes that it never ran.

`python benchmarks/latency_model.py [--quick] [--json]`: MobileNetV2 and ResNet-18 in onnxruntime on this computer. The
two uniform forms are profiled, unseen per-layer mixes are compiled and priced, and only then measured: the least of
the loads, each loaded fresh and alone, process CPU time. Beside it: the same table without what is between layers, the
share of multiply-adds in int8, and how well the measurement repeats itself.
"""

import argparse
import sys

import numpy as np
from _figures import Figures, bench_here, say
from _nets import SIDE
from _rig import Rig, answer
from scipy.stats import spearmanr

from edgekit.search.design import mixes
from edgekit.search.questions import Compile, Goal, Profile, Profiled
from edgekit.search.record import Beliefs, Record
from edgekit.search.space import Point

MIXES = 40
LOADS = 24


def errors(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Absolute errors in percent."""
    return np.asarray(100 * np.abs(predicted / measured - 1))


def unseen(rig: Rig, count: int) -> list[Point]:
    """Random per-layer mixes, from many boundaries to few; neither uniform form among them."""
    random = np.random.default_rng(7)
    found: dict[Point, None] = {}
    while len(found) < count:
        for int8 in mixes(rig.space, random, count):
            point = rig.space.point(int8)
            if point not in (rig.float, rig.int8) and len(found) < count:
                found[point] = None
    return list(found)


def of_net(name: str, figures: Figures, count: int) -> None:
    with bench_here() as (bench, folder):
        rig = Rig(name, bench, folder)
        points, uniforms = unseen(rig, count), [rig.float, rig.int8]
        say(f"{name}: {len(rig.space.layers)} layers; profiling the two uniform forms")
        profiles, traces = rig.loads(uniforms, 3, seed=1), rig.traces()
        graphs = rig.compiled([*uniforms, *points])
        say(f"{name}: pricing, with a farm of the ops that no trace has")
        prices = rig.prices([*uniforms, *points], graphs, [op for ops in traces.values() for op in ops])
        told = [answer(p, graph, prices) for p, graph in zip([*uniforms, *points], graphs, strict=True)]
        record = Record(rig.space, Goal())
        record.add(
            Profile(points=tuple(uniforms)),
            [Profiled(point=p, seconds=min(profiles[p]), ops=traces[p]) for p in uniforms],
        )
        record.add(Compile(points=(*uniforms, *points)), told)
        predicted = Beliefs(record).times(points)[0] * record.float_s
        say(f"{name}: all {count} mixes are predicted; now they are measured")
        loads = rig.loads([*uniforms, *points], LOADS, seed=2)
    # The state of the machine is the float form's: profile and measurement are minutes apart.
    drift = min(loads[rig.float]) / record.float_s
    measured = np.array([min(loads[p]) for p in points])
    error = errors(predicted * drift, measured)
    draws = np.random.default_rng(0).integers(0, count, (2000, count))
    low, high = np.percentile(error[draws].mean(axis=1), [2.5, 97.5])
    figures.add(f"{name}: mean error of {count} unseen mixes", float(error.mean()), 3.0, low=low, high=high)
    rank = spearmanr(predicted, measured).statistic
    figures.add(f"{name}: rank correlation", float(rank), 0.98, larger_is_better=True, unit="")
    odd, even = (np.array([min(loads[p][k::2]) for p in points]) for k in (1, 0))
    figures.add(f"{name}: repeat noise, odd loads against even ones", float(errors(odd, even).mean()), None)
    figures.add(f"{name}: rank correlation of these two", float(spearmanr(odd, even).statistic), None, unit="")
    figures.add(f"{name}: float form's time now, against its profile", 100 * (drift - 1), None)
    float_s, int8_s = min(loads[rig.float]), min(loads[rig.int8])
    traced = {op.signature for ops in traces.values() for op in ops}
    plain = np.array([sum(op.seconds for op in t.ops if op.signature in traced) for t in told[2:]])
    plain *= record.float_s * drift / sum(op.seconds for op in told[0].ops)
    peers = {"ops that a trace has, nothing between layers": plain}
    macs = np.array([sum(x.macs for x in rig.space.layers if x.name in p.int8) for p in points])
    share = macs / sum(x.macs for x in rig.space.layers)
    peers["share of multiply-adds in int8"] = float_s + share * (int8_s - float_s)
    for peer, guess in peers.items():
        figures.add(f"{name}: peer, {peer}", float(errors(guess, measured).mean()), None)
        figures.add(f"{name}: peer's rank correlation", float(spearmanr(guess, measured).statistic), None, unit="")
    slower = int((measured > float_s).sum())
    figures.notes.append(
        f"{name}: float {float_s * 1e3:.2f} ms, int8 {int8_s * 1e3:.2f} ms;"
        f" {slower} of {count} mixes are slower than float"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="MobileNetV2 alone: about 3 minutes on 2 cores")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    figures = Figures("latency_model", f"{SIDE}×{SIDE}, 1 thread")
    for name in ("MobileNetV2",) if args.quick else ("MobileNetV2", "ResNet-18"):
        of_net(name, figures, MIXES)
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
