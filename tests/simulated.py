"""A simulated model on a simulated device, to search over. It knows the search's nouns and shares no code with it.

A small residual net. The device's true time has what no table of ops can say: a cache that neighbours share, fusions
that are lost when precisions differ, steps of 16 channels, loads that are biased, noise. Prices are true op times with
an error each. Pruned forms lose much and win most of it back when fine-tuned; losses interact.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from msgspec import UNSET

from edgekit.core.measurement import Comparison, Conditions, Latency, Measurement, Quality, Ratio
from edgekit.core.price import OpPrice, OpSignature, TracedOp
from edgekit.search.questions import (
    Answer,
    Compile,
    Compiled,
    Done,
    Evaluate,
    Evaluated,
    Failed,
    Measure,
    Measured,
    Profile,
    Profiled,
    Question,
)
from edgekit.search.space import Fidelity, GroupSpace, LayerSpace, Point, Space


@dataclass(frozen=True)
class Conv:
    """A layer as the device sees it; `adds` names the layer whose output is added to its own."""

    name: str
    reads: str | None
    writes: str | None
    cin: int
    cout: int
    side: int
    takes: str | None
    adds: str | None = None
    sort: str = "conv"


def residual_net(stages: tuple[int, ...] = (32, 64), blocks: int = 2, side: int = 16) -> tuple[Conv, ...]:
    """A stem, stages of residual blocks of two convolutions, a last layer whose channels are fixed."""
    net = [Conv("stem", None, "stem", 3, stages[0], side, None)]
    last, group, width = "stem", "stem", stages[0]
    for s, channels in enumerate(stages):
        for b in range(blocks):
            name = f"s{s}b{b}"
            if b == 0 and s > 0:
                side //= 2
                net.append(Conv(f"{name}.down", group, f"{name}.down", width, channels, side, last))
                residual, out = f"{name}.down", f"{name}.down"
            else:
                residual, out = last, group
            net.append(Conv(f"{name}.a", group, f"{name}.a", width, channels, side, last))
            net.append(Conv(f"{name}.b", f"{name}.a", out, channels, channels, side, f"{name}.a", residual))
            last, group, width = f"{name}.b", out, channels
    net.append(Conv("head", group, None, width, 10, 1, last))
    return tuple(net)


def space_of(net: tuple[Conv, ...], step: int | None = 16, precisions: tuple[str, ...] = ("fp32", "int8")) -> Space:
    """The search's view of `net`: all widths in steps of `step`; None: no groups at all."""
    layers = {conv.name: conv for conv in net}
    edges = []
    for conv in net:
        source = conv.takes
        while source is not None:
            edges.append((source, conv.name))
            source = layers[source].adds
        if conv.adds:
            edges.append((conv.adds, conv.name))
    groups: dict[str, int] = {}
    for conv in net:
        if conv.writes and step:
            groups.setdefault(conv.writes, conv.cout)
    return Space(
        layers=tuple(
            LayerSpace(
                name=c.name, reads=c.reads if step else None, writes=c.writes if step else None,
                macs=9 * c.cin * c.cout * c.side**2, precisions=precisions,
                **({"sort": c.sort} if len(precisions) > 2 else {}),
            )
            for c in net
        ),
        groups=tuple(
            GroupSpace(name=g, widths=(*range(step or 1, w, step or 1), w), full=w) for g, w in groups.items()
        ),
        edges=tuple(dict.fromkeys(edges)),
    )  # fmt: skip


@dataclass
class SimulatedDevice:
    """Answers the search's questions about `net`. `int8_speed` below 1 is a device on which int8 does not pay.

    A layer in int8-dynamic quantizes what it takes, and gives float: it has no boundaries. `dynamic_speed` is by sort
    of layer, 1 where none is named; `static_loss` and `dynamic_loss` scale what a layer loses in either.
    """

    net: tuple[Conv, ...]
    seed: int = 0
    int8_speed: float = 3.0
    dynamic_speed: Mapping[str, float] = field(default_factory=dict)
    static_loss: float = 1.0
    dynamic_loss: float = 0.3
    shows_ops: bool = True
    noise: float = 0.01
    bound: float | None = 0.005
    refuses: frozenset[str] = frozenset()
    """Layers that this device's runtime cannot run in int8."""
    counts: dict[str, int] = field(default_factory=dict)

    def answer(self, question: Question) -> tuple[Answer, ...]:
        """One answer per point."""
        if isinstance(question, Done):
            raise AssertionError("the search is over")
        name = type(question).__name__
        self.counts[name] = self.counts.get(name, 0) + len(question.points)
        return tuple(self._answer(question, point) for point in question.points)

    def _answer(self, question: Profile | Compile | Evaluate | Measure, point: Point) -> Answer:
        if refused := self.refuses.intersection(point.int8):
            return Failed(point=point, reason=f"the runtime has no int8 kernel for {min(refused)}")
        match question:
            case Profile():
                ops = tuple(
                    TracedOp(name=f"n{i}", signature=s, seconds=self._priced(s, "trace"))
                    for i, s in enumerate(self.ops(point))
                )
                seconds = self.seconds(point) * self._load("profile", point)
                return Profiled(
                    point=point, seconds=seconds, ops=ops if self.shows_ops else (),
                    peak_memory_bytes=self.memory(point),
                )  # fmt: skip
            case Compile():
                shown = self.ops(point) if self.shows_ops else ()
                return Compiled(point=point, ops=tuple(map(self._price, shown)), size_bytes=self.size(point))
            case Evaluate(fidelity=fidelity):
                return self._evaluated(point, fidelity)
            case Measure(baseline=baseline):
                return self._measured(point, baseline)

    # ---- the device ----

    def ops(self, point: Point) -> tuple[OpSignature, ...]:
        """What the runtime makes of a form."""
        dynamic, widths = point.precision == "int8-dynamic", dict(point.widths)
        int8 = set() if dynamic else set(point.int8)
        made: list[OpSignature] = []
        taken: dict[str, set[bool]] = {}
        for conv in self.net:
            for source in filter(None, (conv.takes, conv.adds)):
                taken.setdefault(source, set()).add(conv.name in int8)
        for conv in self.net:
            quantized = conv.name in int8
            kind, dtype = ("QConv", "uint8") if quantized else ("Conv", "float")
            cin, cout = self._channels(conv, widths)
            if dynamic and conv.name in point.int8:
                made.append(OpSignature(kind="Measure", inputs=(("float", (1, cin, conv.side, conv.side)),)))
                kind = f"Integer-{conv.sort}"
            shapes = ((dtype, (1, cin, conv.side, conv.side)), (dtype, (cout, cin, 3, 3)))
            if conv.adds and (conv.adds in int8) == quantized:
                shapes += ((dtype, (1, cout, conv.side, conv.side)),)
            elif conv.adds:
                made.append(OpSignature(kind="Add", inputs=(("float", (1, cout, conv.side, conv.side)),) * 2))
            made.append(OpSignature(kind=kind, inputs=shapes))
            if quantized not in taken.get(conv.name, set()):
                convert = "Dequantize" if quantized else "Quantize"
                made.append(OpSignature(kind=convert, inputs=((dtype, (1, cout, conv.side, conv.side)),)))
        return tuple(made)

    def seconds(self, point: Point) -> float:
        """The true time: ops, and what neighbours do to each other."""
        ops = self.ops(point)
        times = [self._op_seconds(op) for op in ops]
        for i, (a, b) in enumerate(itertools.pairwise(ops)):
            if _bytes(a) + _bytes(b) > 60_000:
                times[i + 1] *= 1.05
        static = point.int8 if point.precision == "int8" else ()
        switches = sum((a in static) != (b in static) for a, b in itertools.pairwise(c.name for c in self.net))
        return sum(times) * (1 + 0.004 * math.sin(switches))

    def size(self, point: Point) -> int:
        """Bytes of the file."""
        widths = dict(point.widths)
        return 1000 + sum(
            math.prod(self._channels(c, widths)) * 9 * (1 if c.name in point.int8 else 4) for c in self.net
        )

    def memory(self, point: Point) -> int:
        """Peak bytes: the file, and the largest values that live at a time."""
        return self.size(point) + max(map(_bytes, self.ops(point)))

    def _channels(self, conv: Conv, widths: dict[str, int]) -> tuple[int, int]:
        return widths.get(conv.reads or "", conv.cin), widths.get(conv.writes or "", conv.cout)

    def _op_seconds(self, op: OpSignature) -> float:
        first = op.inputs[0][1]
        moves = {"Add": 0.5e-9, "Quantize": 1.2e-9, "Dequantize": 1.0e-9, "Measure": 1.5e-9}
        if op.kind in moves:
            return 2e-6 + math.prod(first) * moves[op.kind]
        cout, cin = op.inputs[1][1][:2]
        steps = math.ceil(cin / 16) * math.ceil(cout / 16) * 256
        speed = 1.0 if op.kind == "Conv" else self.int8_speed * (1.0 if cin % 16 == 0 else 0.5)
        if op.kind.startswith("Integer-"):
            speed = self.dynamic_speed.get(op.kind.removeprefix("Integer-"), 1.0)
        return 3e-6 + steps * 9 * first[-1] ** 2 / (2e10 * speed)

    def _priced(self, op: OpSignature, source: str) -> float:
        sd = 0.02 if source == "trace" else 0.08
        return self._op_seconds(op) * math.exp(sd * self._random("price", source, op).standard_normal())

    def _price(self, op: OpSignature) -> OpPrice:
        source = "trace" if self._traced(op) else "farm"
        seconds = self._priced(op, source)
        return OpPrice(signature=op, seconds=seconds, low_s=seconds * 0.9, high_s=seconds * 1.1, source=source)

    def _traced(self, op: OpSignature) -> bool:
        names = tuple(c.name for c in self.net)
        widths = tuple(dict.fromkeys((c.writes, c.cout) for c in self.net if c.writes))
        traced = [Point(widths=widths), *(Point(int8=names, widths=widths, other=p) for p in (UNSET, "int8-dynamic"))]
        return any(op in self.ops(point) for point in traced)

    def _load(self, *key: object) -> float:
        return float(1 + abs(self._random("load", *key).standard_normal()) * self.noise)

    def _measured(self, point: Point, baseline: Point) -> Measured:
        turn = self.counts["Measure"]
        rounds = [
            math.log(self.seconds(point) * self._load(turn, i, point))
            - math.log(self.seconds(baseline) * self._load(turn, i, baseline))
            for i in range(10)
        ]
        mean, half = float(np.mean(rounds)), 2.26 * float(np.std(rounds, ddof=1)) / math.sqrt(10) + 5e-4
        ratio = Ratio(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half), rounds=10)
        verdict = "faster" if ratio.high < 1 else "slower" if ratio.low > 1 else "no difference"
        s = self.seconds(point) * min(self._load(turn, i, point) for i in range(3))
        latency = Latency(p50_s=s, p90_s=s, p99_s=s, least_s=s, low_s=s, high_s=s, calls=30, loads=3)
        names = {"device": "simulated", "baseline": baseline.digest, "candidate": point.digest}
        return Measured(
            point=point,
            comparison=Comparison(**names, ratio=ratio, clock="wall", wall=ratio, cpu=ratio, verdict=verdict),
            measurement=Measurement(
                artifact=point.digest, device="simulated", wall=latency, cpu=latency, load_s=0.01, first_call_s=s,
                conditions=Conditions(runtime="none", runtime_version="0", threads=1), size_bytes=self.size(point),
                peak_memory_bytes=self.memory(point),
            ),
        )  # fmt: skip

    # ---- the model ----

    def loss(self, point: Point, fidelity: Fidelity) -> float:
        """Distance of the outputs from float's: parts, and what neighbours do to each other's."""
        names, widths = [c.name for c in self.net], dict(point.widths)
        parts = {n: math.exp(self._random(point.precision, n).normal(-7, 1.2)) for n in names}
        parts = {n: part * self._scale(point) for n, part in parts.items()}
        total = sum(parts[n] for n in point.int8)
        total += 0.3 * sum(
            math.sqrt(parts[a] * parts[b]) for a, b in itertools.pairwise(names) if {a, b} <= set(point.int8)
        )
        cut = 0.0
        for group, full in {c.writes: c.cout for c in self.net if c.writes}.items():
            removed = 1 - widths.get(group, full) / full
            cut += math.exp(self._random("width", group).normal(0, 0.7)) * removed**2
        return total + (cut if fidelity == "quick" else 0.02 * cut**1.3)

    def _scale(self, point: Point) -> float:
        return self.dynamic_loss if point.precision == "int8-dynamic" else self.static_loss

    def _evaluated(self, point: Point, fidelity: Fidelity) -> Evaluated:
        loss = self.loss(point, fidelity)
        drop = min(0.9, 0.25 * loss) + 1e-4 * float(self._random("drop", point).standard_normal()) * (loss > 0)
        half = 1e-3 + 0.3 * math.sqrt(max(drop, 0.0) / 5000)
        quality = Quality(
            metric="accuracy", split="validation", value=0.93 - drop, reference=0.93, drop=drop,
            drop_low=drop - half, drop_high=drop + half if loss else 0.0, samples=5000, bound=self.bound,
        )  # fmt: skip
        return Evaluated(point=point, loss=loss, quality=(quality,))

    def _random(self, *key: object) -> np.random.Generator:
        text = hashlib.sha256(repr((self.seed, *key)).encode()).digest()
        return np.random.default_rng(int.from_bytes(text[:8], "little"))


def every_point(space: Space) -> Iterator[Point]:
    """The whole space, for an oracle."""
    for widths in itertools.product(*(group.widths for group in space.groups)):
        kept = {group.name: width for group, width in zip(space.groups, widths, strict=True)}
        for precision in space.precisions or (None,):
            names = space.layers_in(precision) if precision else ()
            for bits in itertools.product((False, True), repeat=len(names)):
                if any(bits) or precision in (None, space.first):
                    yield space.point([n for n, on in zip(names, bits, strict=True) if on], kept, precision)


def _bytes(op: OpSignature) -> int:
    return sum(math.prod(shape) * (4 if dtype == "float" else 1) for dtype, shape in op.inputs)
