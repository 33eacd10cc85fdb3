"""What the benchmarks of the search share: a quantized net, its mixes as files, and this computer as the device.

Everything goes the way that tuning goes: one quantized program, its mixes by the format, the agent over the transport.
"""

import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from _figures import say
from _nets import blocks, images, net

from edgekit.bench.session import Bench, Form, Plan
from edgekit.catalog.targets import get_target
from edgekit.compress.layers import edges as layer_edges
from edgekit.compress.layers import layer_macs
from edgekit.compress.quantize import quantize
from edgekit.core.measurement import Round
from edgekit.core.price import OpPrice, OpSignature, TracedOp
from edgekit.core.recipe import Quantize
from edgekit.formats.base import get_format
from edgekit.graph.signatures import CompiledGraph
from edgekit.models.data import Samples
from edgekit.models.model import capture
from edgekit.search.questions import Compiled
from edgekit.search.space import LayerSpace, Point, Space


class Rig:
    """One net on this computer. `units` are what a space's layers stand for: blocks of layers, or single ones."""

    def __init__(self, name: str, bench: Bench, folder: Path, block_count: int | None = None) -> None:
        self.name, self.bench, self._folder = name, bench, folder
        self.inputs = images(32, seed=1).numpy()
        model = capture(net(name), (images(1, seed=0),), name)
        self._target = get_target(f"onnx-{platform.machine()}")
        calibration = Samples(inputs=(images(16, seed=2).numpy(),), labels=None)
        self.program = quantize(model, Quantize(), self._target.numerics, calibration)
        layers, macs = self.program.layers, layer_macs(model)
        cut = blocks(layers, block_count) if block_count else tuple((layer,) for layer in layers)
        self.units = {parts[0]: parts for parts in cut}
        edges = layer_edges(model)
        if block_count:
            edges = tuple(zip(self.units, list(self.units)[1:], strict=False))
        self.space = Space(
            layers=tuple(LayerSpace(name=n, macs=sum(macs[x] for x in parts)) for n, parts in self.units.items()),
            edges=edges,
        )
        self.float, self.int8 = self.space.float_form, self.space.point(self.space.int8_layers)
        self._forms: dict[Point, Form] = {}
        np.savez(folder / "inputs.npz", in_0=self.inputs)

    def forms(self, points: Sequence[Point]) -> list[Form]:
        """The file of each point, built once."""
        missing = [point for point in points if point not in self._forms]
        sets = [frozenset(layer for unit in point.int8 for layer in self.units[unit]) for point in missing]
        paths = get_format("onnx").mixes(self.program, sets, self._target, self._folder)
        for point, path in zip(missing, paths, strict=True):
            self._forms[point] = Form(id=point.digest, path=str(path), inputs=str(self._folder / "inputs.npz"))
        return [self._forms[point] for point in points]

    def losses(self, points: Sequence[Point]) -> dict[Point, float]:
        """Mean squared error of the logits against the float form's, by the runtime itself."""
        run = get_format("onnx").run
        outputs = [run(Path(form.path), (self.inputs,), threads=1)[0] for form in self.forms([self.float, *points])]
        return {p: float(np.mean((o - outputs[0]) ** 2)) for p, o in zip(points, outputs[1:], strict=True)}

    def loads(self, points: Sequence[Point], count: int, *, seed: int = 0) -> dict[Point, list[float]]:
        """Seconds of process CPU time of each point in `count` fresh loads, all points in random order each time."""
        forms = self.forms(points)
        plan = Plan(
            half_width=1e-9, least=count, most=count, per_process=1, seconds=0.05, calls_least=6, calls_most=30,
            warmup_s=0.5, deadline_s=7200.0, budget_s=1e9, seed=seed,
        )  # fmt: skip
        rounds = self.bench.rounds(forms, forms[0].id, plan, on_round=lambda r: say(f"load {r.index + 1} of {count}"))
        by_id = _medians(rounds)
        return {point: by_id[form.id] for point, form in zip(points, forms, strict=True)}

    def traces(self) -> dict[Point, tuple[TracedOp, ...]]:
        """The two uniform forms' traces."""
        points = [self.float, self.int8]
        return {p: ops for p, (_, ops) in zip(points, self.bench.trace(self.forms(points)), strict=True)}

    def compiled(self, points: Sequence[Point]) -> list[CompiledGraph]:
        """Each point as the runtime compiles it."""
        found: list[CompiledGraph] = []
        for start in range(0, len(points), 32):
            found += self.bench.compile(self.forms(points[start : start + 32]))
            say(f"compiled {len(found)} of {len(points)}")
        return found

    def prices(
        self, points: Sequence[Point], graphs: Sequence[CompiledGraph], traces: Iterable[TracedOp]
    ) -> dict[OpSignature, OpPrice]:
        """The price of every op of `graphs`: traced, else farmed."""
        return self.bench.price_ops(self.forms(points), graphs, traces=traces)


def answer(point: Point, graph: CompiledGraph, prices: dict[OpSignature, OpPrice]) -> Compiled:
    """What the search is told of a compiled form."""
    return Compiled(
        point=point,
        ops=tuple(prices[s] for s in graph.signatures if s in prices),
        unpriced=tuple(s for s in graph.signatures if s not in prices),
    )


def _medians(rounds: Sequence[Round]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in rounds:
        for reading in one.readings:
            found.setdefault(reading.artifact, []).append(float(np.median(reading.cpu_s)))
    return found
