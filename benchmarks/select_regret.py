"""B1: how far from the best a choice is after 15 measurements, on a real net in onnxruntime.

`python benchmarks/select_regret.py [--quick] [--json] [--reuse]`: each block of a net is float or int8; every form is
built, scored and measured, so the best form under a latency limit is known without any model of latency: the least
loss among forms whose time is at most the limit less 1 %. The search gets fewer pushes than there are forms by far. A
push is three fresh loads to profile and six to measure, float's beside it (the pipeline takes three, and ten or more);
a form's time is the least of all its loads. All forms are loaded in turn, many times over: every other load is the
truth, and no push sees it. Optuna's TPE and NSGA-II choose with the same pushes of six loads in the same run. Losses
are the net's own (squared error of logits) and, for more cases, log-normal sensitivities not tied to depth with 15 % of
interaction. `--reuse` takes the times kept by an earlier run.
"""

import argparse
import hashlib
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from _figures import KEPT, Figures, bench_here, machine, say
from _nets import SIDE
from _rig import Rig, answer

from edgekit.core.measurement import Comparison, Conditions, Latency, Measurement, Ratio
from edgekit.core.noun import from_json, to_json
from edgekit.core.price import TracedOp
from edgekit.search.questions import (
    Answer,
    Compile,
    Compiled,
    Done,
    Effort,
    Evaluate,
    Evaluated,
    Goal,
    Measure,
    Measured,
    Profile,
    Profiled,
    Question,
)
from edgekit.search.search import Search
from edgekit.search.space import Point, Space

LOADS, PROFILE_LOADS, MEASURE_LOADS = 14, 3, 6
PUSHES = 15
LIMITS = (0.15, 0.3, 0.45, 0.6, 0.75)
"""Latency limits, as the share of the way from the fastest form to float."""


@dataclass(frozen=True)
class Net:
    """All forms of a net: what each takes in every load, how each compiles, what each loses."""

    name: str
    space: Space
    points: tuple[Point, ...]
    loads: dict[Point, list[float]]
    compiled: dict[Point, Compiled]
    traces: dict[Point, tuple[TracedOp, ...]]
    own_loss: dict[Point, float]

    def truth(self, point: Point) -> float:
        """A form's time: the least of the loads that no push sees."""
        return min(self.loads[point][::2])

    def pool(self, point: Point) -> list[float]:
        """The loads that pushes are drawn from."""
        return self.loads[point][1::2]


def all_forms(name: str, block_count: int) -> Net:
    """Every form of `name` built, scored, compiled, priced and measured."""
    with bench_here() as (bench, folder):
        rig = Rig(name, bench, folder, block_count)
        units = rig.space.int8_layers
        points = tuple(
            rig.space.point(itertools.compress(units, bits))
            for bits in itertools.product((0, 1), repeat=len(units))
        )  # fmt: skip
        say(f"{name}: {len(points)} forms of {len(units)} blocks")
        losses = rig.losses(points)
        traces = rig.traces()
        graphs = rig.compiled(points)
        prices = rig.prices(points, graphs, [op for ops in traces.values() for op in ops])
        loads = rig.loads(points, LOADS)
        compiled = {p: answer(p, graph, prices) for p, graph in zip(points, graphs, strict=True)}
        return Net(name, rig.space, points, loads, compiled, traces, losses)


class Device:
    """Answers questions about a net as the device would, and counts the pushes. The peers use its `push` too."""

    def __init__(self, net: Net, loss: Callable[[Point], float], seed: int) -> None:
        self.net, self.loss = net, loss
        self._random = np.random.default_rng(seed)
        self._gaps: list[float] = []
        self._seen: dict[Point, list[float]] = {}
        self.pushes = 0

    def push(self, point: Point, loads: int = MEASURE_LOADS) -> float:
        """Fresh loads: the least of all that were seen of this form."""
        self.pushes += 1
        return self._loaded(point, loads)

    def _loaded(self, point: Point, loads: int) -> float:
        times = sorted(float(x) for x in self._random.choice(self.net.pool(point), loads, replace=False))
        self._gaps.append(np.log(times[1] / times[0]))
        self._seen.setdefault(point, []).append(times[0])
        return min(self._seen[point])

    def answer(self, question: Question) -> tuple[Answer, ...]:
        """What the pipeline would answer."""
        assert not isinstance(question, Done)
        if isinstance(question, Measure):
            float_s = self._loaded(self.net.space.float_form, MEASURE_LOADS)  # it is part of every comparison
            return tuple(self._measured(point, float_s) for point in question.points)
        return tuple(self._one(question, point) for point in question.points)

    def _one(self, question: Profile | Compile | Evaluate, point: Point) -> Answer:
        match question:
            case Profile():
                seconds = self.push(point, PROFILE_LOADS)
                return Profiled(point=point, seconds=seconds, ops=self.net.traces.get(point, ()))
            case Compile():
                return self.net.compiled[point]
            case Evaluate():
                return Evaluated(point=point, loss=self.loss(point))

    def _measured(self, point: Point, float_s: float) -> Measured:
        """A push. If n loads are late by exponential times, the least errs by (n - 1) / n of its gap to the next."""
        seconds = self.push(point)
        error = max(0.003, float(np.mean(self._gaps)) * (MEASURE_LOADS - 1) / MEASURE_LOADS)
        value = seconds / float_s
        ratio = Ratio(
            value=value, low=value * np.exp(-1.96 * error), high=value * np.exp(1.96 * error), rounds=MEASURE_LOADS
        )
        verdict: Literal["faster", "slower", "no difference"] = "no difference"
        if ratio.high < 1 or ratio.low > 1:
            verdict = "faster" if ratio.high < 1 else "slower"
        latency = Latency(
            p50_s=seconds, p90_s=seconds, p99_s=seconds, least_s=seconds, low_s=seconds, high_s=seconds,
            calls=MEASURE_LOADS, loads=MEASURE_LOADS,
        )  # fmt: skip
        return Measured(
            point=point,
            comparison=Comparison(
                device="local", baseline="float", candidate=point.digest, ratio=ratio, clock="cpu", wall=ratio,
                cpu=ratio, verdict=verdict,
            ),
            measurement=Measurement(
                artifact=point.digest, device="local", wall=latency, cpu=latency, load_s=0.0, first_call_s=0.0,
                conditions=Conditions(runtime="onnxruntime", runtime_version="", threads=1),
            ),
        )  # fmt: skip


def by_edgekit(net: Net, loss: Callable[[Point], float], limit: float, seed: int, pushes: int) -> Point:
    """The search's choice."""
    device = Device(net, loss, seed)
    search = Search(net.space, Goal(minimise="loss", max_seconds=limit), Effort(pushes=pushes), seed)
    while not isinstance(question := search.ask(), Done):
        search.tell(device.answer(question))
    if device.pushes + 1 > pushes:
        raise RuntimeError(f"{device.pushes} pushes and a farm, where {pushes} were allowed")
    return question.choice


def by_optuna(kind: str) -> Callable[[Net, Callable[[Point], float], float, int, int], Point]:
    """A peer's choice: the least loss among what it pushed within the limit, else the fastest."""

    def choose(net: Net, loss: Callable[[Point], float], limit: float, seed: int, pushes: int) -> Point:
        import optuna

        warnings.filterwarnings("ignore", category=FutureWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        device, seen = Device(net, loss, seed), dict[Point, float]()

        def excess(trial: optuna.trial.FrozenTrial) -> tuple[float]:
            return (trial.user_attrs["seconds"] / limit - 1,)

        sampler = (
            optuna.samplers.TPESampler(seed=seed, multivariate=True, constraints_func=excess, n_startup_trials=5)
            if kind == "TPE"
            else optuna.samplers.NSGAIISampler(seed=seed, population_size=10, constraints_func=excess)
        )

        def objective(trial: optuna.Trial) -> float:
            point = net.space.point(
                [n for n in net.space.int8_layers if trial.suggest_categorical(n, ["fp32", "int8"]) == "int8"]
            )
            seconds = device.push(point)
            seen[point] = min(seconds, seen.get(point, seconds))
            trial.set_user_attr("seconds", seconds)
            return loss(point)

        optuna.create_study(sampler=sampler).optimize(objective, n_trials=pushes)
        inside = [point for point, seconds in seen.items() if seconds <= limit]
        return min(inside, key=loss) if inside else min(seen, key=lambda p: seen[p])

    return choose


def other_loss(net: Net, seed: int) -> Callable[[Point], float]:
    """Log-normal sensitivities, not tied to depth, with 15 % of interaction between neighbours."""
    units = net.space.int8_layers
    draw = np.random.default_rng([seed, 15])
    parts = dict(zip(units, np.exp(draw.normal(0, 1.2, len(units))), strict=True))
    pulls = dict(zip(itertools.pairwise(units), draw.normal(0, 1, len(units) - 1), strict=True))

    def loss(point: Point) -> float:
        int8 = set(point.int8)
        alone = sum(parts[n] for n in int8)
        both = sum(p * np.sqrt(parts[a] * parts[b]) for (a, b), p in pulls.items() if {a, b} <= int8)
        return float(max(alone + 0.15 * both, 1e-9 * len(int8)))

    return loss


def regret(net: Net, loss: Callable[[Point], float], limit: float, choice: Point) -> tuple[float, bool]:
    """(percent of loss above the best at 1 % under the limit, whether the choice is more than 1 % over it)."""
    best = min(loss(p) for p in net.points if net.truth(p) <= 0.99 * limit)
    return 100 * max(loss(choice) / max(best, 1e-12) - 1, 0.0), net.truth(choice) > 1.01 * limit


def runs(
    net: Net, choose: Callable[[Net, Callable[[Point], float], float, int, int], Point], seeds: Sequence[int],
    others: Sequence[int], pushes: int,
) -> list[tuple[float, bool]]:  # fmt: skip
    """Regrets over all limits, with the net's own loss and with others."""
    fastest, slowest = min(map(net.truth, net.points)), net.truth(net.space.float_form)
    found = []
    for share in LIMITS:
        limit = fastest + share * (slowest - fastest)
        cases: list[tuple[Callable[[Point], float], int]] = [(net.own_loss.__getitem__, seed) for seed in seeds]
        cases += [(other_loss(net, seed), seed) for seed in others]
        for loss, seed in cases:
            found.append(regret(net, loss, limit, choose(net, loss, limit, seed, pushes)))
    return found


def told(figures: Figures, name: str, found: Sequence[tuple[float, bool]], *, judged: bool) -> None:
    """The figures of one method's runs."""
    regrets = np.array([r for r, _ in found])
    over = np.array([o for _, o in found])
    draws = np.random.default_rng(0).integers(0, len(found), (2000, len(found)))

    def add(
        what: str, of: Callable[[np.ndarray, np.ndarray], float], target: float, *, larger_is_better: bool = False
    ) -> None:
        low, high = np.percentile([of(regrets[d], over[d]) for d in draws], [2.5, 97.5])
        figures.add(
            f"{name}: {what}", of(regrets, over), target if judged else None, low=float(low), high=float(high),
            larger_is_better=larger_is_better,
        )  # fmt: skip

    add("median regret", lambda r, o: float(np.median(r)), 0.0)
    add("mean regret", lambda r, o: float(r.mean()), 3.0)
    add("runs with at most 2 %", lambda r, o: 100 * float(((r <= 2) & ~o).mean()), 88.0, larger_is_better=True)
    add("infeasible, more than 1 % over", lambda r, o: 100 * float(o.mean()), 5.0)


def kept_file(name: str, block_count: int) -> Path:
    key = hashlib.sha256(machine().split(", load")[0].encode()).hexdigest()[:8]
    return KEPT / f"select_regret-{name}-{block_count}-{key}.json"


def keep(net: Net, path: Path) -> None:
    rows = [
        {
            "point": to_json(p).decode(), "loads": net.loads[p], "compiled": to_json(net.compiled[p]).decode(),
            "loss": net.own_loss[p], "trace": [to_json(op).decode() for op in net.traces.get(p, ())],
        }
        for p in net.points
    ]  # fmt: skip
    path.write_text(json.dumps({"name": net.name, "space": to_json(net.space).decode(), "rows": rows}))


def kept(path: Path) -> Net:
    body = json.loads(path.read_text())
    rows = [(from_json(row["point"], Point, path.name), row) for row in body["rows"]]
    return Net(
        name=body["name"],
        space=from_json(body["space"], Space, path.name),
        points=tuple(point for point, _ in rows),
        loads={point: row["loads"] for point, row in rows},
        compiled={point: from_json(row["compiled"], Compiled, path.name) for point, row in rows},
        traces={
            point: tuple(from_json(op, TracedOp, path.name) for op in row["trace"])
            for point, row in rows
            if row["trace"]
        },
        own_loss={point: row["loss"] for point, row in rows},
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="MobileNetV2 in 6 blocks, all 64 forms: under 5 minutes")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--reuse", action="store_true", help="take the times that an earlier run kept in .bench/")
    args = parser.parse_args()
    plan = {"MobileNetV2": 6} if args.quick else {"MobileNetV2": 10, "ResNet-18": 9}
    seeds, others = (range(2), range(4)) if args.quick else (range(5), range(10))
    figures, pooled = Figures("select_regret", f"{SIDE}×{SIDE}, 1 thread"), dict[str, list[tuple[float, bool]]]()
    for name, block_count in plan.items():
        path = kept_file(name, block_count)
        net = kept(path) if args.reuse and path.is_file() else all_forms(name, block_count)
        keep(net, path)
        times = np.array([net.truth(p) for p in net.points])
        again = np.array([min(net.pool(p)) for p in net.points])
        figures.notes.append(
            f"{name}: {len(net.points)} forms, {times.min() * 1e3:.2f} to {times.max() * 1e3:.2f} ms, float"
            f" {net.truth(net.space.float_form) * 1e3:.2f} ms; two readings of a form differ by"
            f" {100 * np.mean(np.abs(again / times - 1)):.1f} %"
        )
        methods = {"edgekit": by_edgekit, "Optuna TPE": by_optuna("TPE"), "Optuna NSGA-II": by_optuna("NSGA-II")}
        for method, choose in methods.items():
            say(f"{name}: {method}, {PUSHES} pushes a run")
            found = runs(net, choose, seeds, others, PUSHES)
            pooled.setdefault(method, []).extend(found)
    for method, all_runs in pooled.items():
        told(figures, f"{method}, {PUSHES} pushes", all_runs, judged=method == "edgekit")
    figures.notes.append(f"{len(pooled['edgekit'])} runs a method: {len(LIMITS)} limits, own and other losses")
    return figures.end(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
