"""Measuring on one device through its agent: rounds, memory, what the runtime compiled, op prices, test vectors."""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.bench.lines import AGENT_SCHEMA, Line, NodeLine, State, decode, packed, unpacked
from edgekit.bench.prices import Alone, alone, farm_prices, to_farm, trace_prices, without_overhead
from edgekit.bench.remarks import remarks
from edgekit.bench.states import FEWEST_ROUNDS, alike, slope_per_minute
from edgekit.bench.statistics import compare, enough, latency, tells_cpu
from edgekit.bench.sustained import sustained_of
from edgekit.core.measurement import (
    Comparison,
    Conditions,
    Measurement,
    OpTime,
    Options,
    Reading,
    Round,
    Sustained,
    Window,
)
from edgekit.core.model import TensorSpec
from edgekit.core.noun import Noun
from edgekit.core.price import OpPrice, OpSignature, TracedOp
from edgekit.core.target import Target
from edgekit.devices.said import complaint, readable
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError, MeasureError
from edgekit.graph.farm import COPIES, Farm, farms
from edgekit.graph.signatures import CompiledGraph, Ran, compiled_graph

TRACE_LOADS = 8
"""One load alone is up to 9 % slow."""
TRACE_CALLS = 20
FARM_ROUNDS = 15
FARM_TOGETHER = 3
"""Ops timed against each other: two files each, and more than six files at once slow each other."""
INSIDE_S = 300.0
"""Seconds that a device may take for a form's test vectors."""
COMPILE_S = 60.0
"""Seconds that a device may take for one form, at most."""


class Form(Noun, frozen=True, kw_only=True):
    """A model on the device: `path` and `inputs` (an .npz with in_0, …) are paths there; `batch` is the file's."""

    id: str
    path: str
    inputs: str
    batch: int = 1


class Plan(Noun, frozen=True, kw_only=True):
    """How long rounds go on: until the interval is within `half_width` of the ratio, from `least` to `most` rounds.

    They end earlier, from `FEWEST_ROUNDS` on, when `budget_s` are over. A new process starts every `per_process`
    rounds, since memory layout differs from one to the next. In a round each form is called for `seconds`, at least
    `calls_least` times, after a warm-up that lasts as long as its times still change, `warmup_s` at most.
    """

    half_width: float = 0.01
    least: int = 10
    most: int = 40
    per_process: int = 3
    seconds: float = 0.15
    calls_least: int = 7
    calls_most: int = 200
    warmup_s: float = 2.0
    deadline_s: float = 600.0
    budget_s: float = 900.0
    seed: int = 0


class Bench:
    """Measures forms that lie on a device, one process at a time there.

    `command` starts the agent there, e.g. ("env", "PYTHONPATH=…", "python3", "-B", "agent").
    """

    def __init__(
        self, transport: Transport, command: Sequence[str], options: Options, *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.transport, self.command, self.options, self._clock = transport, tuple(command), options, clock

    def sent(self, form: Form, target: Target, model: Path, inputs: Path, takes: tuple[TensorSpec, ...] = ()) -> None:
        """Hears which files of the host a form is, and what for; to the agent they are all the same.

        `takes` are the model's inputs, where sizes of some are free.
        """

    def ready(self, form: Form) -> None:
        """Returns once the device has what it runs a form by; the agent loads the file as it is.

        Raises: ConvertError, DeviceError: it cannot be had.
        """

    def version(self) -> tuple[str, Conditions]:
        """The runtime's version, and the state of the device now.

        Raises: DeviceError if the runtime cannot be imported there.
        """
        line = next(line for line in list(self._ask("version", timeout_s=60)) if line.version is not None)
        now = line.state or State()
        conditions = Conditions(
            runtime=self.options.runtime, runtime_version=str(line.version), threads=self.options.threads,
            cores=now.cores, governor=now.governor, frequency_khz=now.frequency_khz,
            temperature_start_c=now.temperature_c, load_average=now.load_average,
        )  # fmt: skip
        return str(line.version), conditions

    def rounds(
        self, forms: Sequence[Form], baseline: str, plan: Plan, *,
        done: Sequence[Round] = (), on_round: Callable[[Round], None] = lambda r: None,
    ) -> tuple[Round, ...]:  # fmt: skip
        """Rounds of all forms in random order, until every ratio to `baseline` is known well enough or `plan` ends.

        `done` are rounds of an earlier, interrupted run; `on_round` hears of each new one as it ends.

        Raises: MeasureError if the device gives none; DeviceError if a form does not run.
        """
        found = list(done)
        others = [form.id for form in forms if form.id != baseline]
        end = self._clock() + plan.budget_s
        while len(found) < plan.most and not (
            len(kept := alike(found)) >= plan.least
            and enough(kept, baseline, others, plan.half_width, self.options.threads)
        ):
            if len(found) >= FEWEST_ROUNDS and self._clock() > end:
                break
            before = len(found)
            indices = range(before, min(before + plan.per_process, plan.most))
            for measured in self._rounds(forms, plan, indices):
                found.append(measured)
                on_round(measured)
            if len(found) == before:
                raise MeasureError(f"{self.transport.name}: the agent ended without a round")
        return tuple(found)

    def reading(self, form: Form, plan: Plan, index: int) -> Reading:
        """One form of one round, in a process of its own. Raises: MeasureError, DeviceError."""
        readings = [reading for measured in self._rounds([form], plan, [index]) for reading in measured.readings]
        if not readings:
            raise MeasureError(f"{self.transport.name}: the agent ended without a round")
        return readings[0]

    def _rounds(self, forms: Sequence[Form], plan: Plan, indices: Sequence[int]) -> Iterator[Round]:
        orders = [(i, random.Random(f"{plan.seed} {i}").sample(range(len(forms)), len(forms))) for i in indices]
        job: dict[str, Any] = {
            "orders": orders, "seconds": plan.seconds, "calls_least": plan.calls_least,
            "calls_most": plan.calls_most, "warmup_s": plan.warmup_s,
        }  # fmt: skip
        wanted = sorted(form.id for form in forms)
        for line in self._ask("rounds", timeout_s=plan.deadline_s, forms=forms, **job):
            if line.round is not None:
                if sorted(r.artifact for r in line.round.readings) != wanted:
                    raise MeasureError(f"{self.transport.name}: a round without all its forms")
                yield msgspec.convert(msgspec.to_builtins(line.round), Round)

    def peak_memory_bytes(self, form: Form) -> int | None:
        """Peak resident bytes of a process of its own that loads the form and calls it."""
        lines = list(self._ask("memory", timeout_s=120, forms=[form]))
        return next((line.memory for line in lines if line.memory), None)

    def vectors(self, form: Form) -> tuple[float, ...]:
        """The largest difference of each output from what the host computed, over the form's test vectors."""
        return next(line.vectors for line in list(self._ask("vectors", timeout_s=300, forms=[form])) if line.vectors)

    def inside(self, form: Form, taps: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, ...]:
        """What the form gives for its inputs at each tap (see `ondevice/agent/inside.py`): (places, units).

        Raises: DeviceError, MeasureError.
        """
        found: dict[int, np.ndarray] = {}
        for line in self._ask("inside", timeout_s=INSIDE_S, forms=[form], taps=taps):
            if (got := line.inside) is not None:
                data = unpacked(got.data, self.transport.name)
                if len(data) != math.prod(got.shape) * np.dtype(got.dtype).itemsize:
                    raise MeasureError(f"{self.transport.name}: the agent sent {len(data)} bytes for {got.shape}")
                found[got.index] = np.frombuffer(data, got.dtype).reshape(got.shape)
        if sorted(found) != list(range(len(taps))):
            raise MeasureError(
                f"{self.transport.name}: the agent gave {len(found)} values of the {len(taps)} asked for"
            )
        return tuple(found[i] for i in range(len(taps)))

    def sustained(
        self, form: Form, for_s: float, *, on_window: Callable[[Window], None] = lambda window: None
    ) -> Sustained:
        """The form called without a pause for `for_s` seconds; `on_window` hears of each second of it.

        Raises: MeasureError, DeviceError.
        """
        windows, joules, sensor = [], None, None
        for line in self._ask("sustained", timeout_s=for_s + COMPILE_S, forms=[form], for_s=for_s):
            if line.window is not None:
                windows.append(msgspec.convert(msgspec.to_builtins(line.window), Window))
                on_window(windows[-1])
            if line.energy is not None and line.energy.sensor is not None:
                joules, sensor = line.energy.joules, readable(line.energy.sensor, 40)
        return sustained_of(windows, joules=joules, sensor=sensor)

    @property
    def shows_ops(self) -> bool:
        """Whether the runtime shows what it compiled: LiteRT has no way to its graph from Python."""
        return self.options.runtime == "onnxruntime"

    def compile(self, forms: Sequence[Form]) -> tuple[CompiledGraph, ...]:
        """Each form as the device's own runtime compiles it; without nodes where the runtime does not show that.

        onnxruntime shows it. LiteRT has no way to it from Python: neither its graph after XNNPACK took its part, nor a
        profile of ops.

        Raises: DeviceError if a form does not run.
        """
        return tuple(graph for graph, _ in self._compiled(forms, calls=1, loads=1))

    def trace(
        self, forms: Sequence[Form], *, calls: int = TRACE_CALLS, loads: int = TRACE_LOADS
    ) -> tuple[tuple[CompiledGraph, tuple[TracedOp, ...]], ...]:
        """Each form as compiled, and the seconds of each of its ops in it, with nothing else loaded.

        A form's ops add up to its time without profiling. Times are the least of `loads` loads, the forms in turn.

        Raises: DeviceError if a form does not run.
        """
        return tuple((graph, _traced(graph, us)) for graph, us in self._compiled(forms, calls=calls, loads=loads))

    def op_times(self, form: Form) -> tuple[OpTime, ...]:
        """The ops of a form, the longest first; none where the runtime does not show them.

        Raises: DeviceError if the form does not run.
        """
        if not self.shows_ops:
            return ()
        ((graph, traced),) = self.trace((form,))
        kinds = {node.name: node.kind for node in graph.nodes}
        whole = sum(op.seconds for op in traced)
        found = [OpTime(name=op.name, op=kinds[op.name], seconds=op.seconds, share=op.seconds / whole) for op in traced]
        return tuple(sorted(found, key=lambda op: -op.seconds))

    def _compiled(
        self, forms: Sequence[Form], *, calls: int, loads: int
    ) -> Iterator[tuple[CompiledGraph, Mapping[str, float]]]:
        if not self.shows_ops:
            yield from ((CompiledGraph(form=form.id, model=b"", nodes=()), {}) for form in forms)
            return
        timeout_s = COMPILE_S * len(forms) * loads + 2 * calls * loads
        lines = self._ask("compile", timeout_s=timeout_s, forms=forms, calls=calls, loads=loads, whole=calls > 1)
        found = [line.compiled for line in lines if line.compiled is not None]
        if [line.id for line in found] != [form.id for form in forms]:
            raise MeasureError(f"{self.transport.name}: the agent compiled other forms than it was given")
        for line in found:
            run = [_ran(node) for node in line.nodes]
            graph = compiled_graph(line.id, unpacked(line.graph, self.transport.name), run)
            whole_s = None if line.whole_us is None else line.whole_us * 1e-6
            yield graph, without_overhead({node.name: node.us * 1e-6 for node in line.nodes}, whole_s)

    def price_ops(
        self, forms: Sequence[Form], compiled: Sequence[CompiledGraph], *,
        traces: Iterable[TracedOp] = (), known: Iterable[OpPrice] = (),
    ) -> dict[OpSignature, OpPrice]:  # fmt: skip
        """The price of every op of `compiled`, from `known`, `traces`, or a farm of the rest timed now.

        `forms` holds the form of each graph. What the farm cannot run is left out.

        Raises: DeviceError, MeasureError.
        """
        prices = trace_prices(traces) | {price.signature: price for price in known}
        wanted = to_farm((s for graph in compiled for s in graph.signatures), prices)
        if not wanted:
            return prices
        return prices | farm_prices(self.farm(forms, farms(compiled, wanted)), prices)

    def farm(self, forms: Sequence[Form], cut: Sequence[Farm]) -> dict[OpSignature, Alone]:
        """Seconds of each op alone. Ops that the runtime refuses alone are left out.

        Raises: DeviceError, MeasureError.
        """
        by_id = {form.id: form for form in forms}
        job = [
            {
                "form": msgspec.to_builtins(by_id[farm.form]), "capture": packed(farm.capture),
                "ops": [
                    {"once": packed(op.once), "often": packed(op.often), "inputs": op.inputs} for op in farm.ops
                ],
            }
            for farm in cut
        ]  # fmt: skip
        signatures = {(farm.form, i): op.signature for farm in cut for i, op in enumerate(farm.ops)}
        timeout_s = COMPILE_S * len(cut) + 10.0 * len(signatures)
        found = {}
        for line in self._ask("farm", timeout_s=timeout_s, farms=job, rounds=FARM_ROUNDS, together=FARM_TOGETHER):
            farmed = line.farmed
            if farmed is not None and (farmed.id, farmed.index) in signatures and len(farmed.once) > 0:
                found[signatures[farmed.id, farmed.index]] = alone(farmed.once, farmed.often, COPIES)
        return found

    def measurement(
        self, rounds: Sequence[Round], form: Form, *, device: str, conditions: Conditions,
        peak_memory_bytes: int | None = None, size_bytes: int | None = None,
    ) -> Measurement:  # fmt: skip
        """What the rounds say of one form by itself: those for which the device was in one state."""
        kept = alike(rounds)
        readings = [r for q in kept for r in q.readings if r.artifact == form.id]
        return Measurement(
            artifact=form.id, device=device,
            conditions=msgspec.structs.replace(
                conditions, temperature_end_c=rounds[-1].temperature_c, throttled=kept[0].throttled
            ),
            wall=latency(kept, form.id, "wall"),
            cpu=latency(kept, form.id, "cpu") if tells_cpu(kept, (form.id,)) else None,
            load_s=_least(r.load_s for r in readings), first_call_s=_least(r.first_call_s for r in readings),
            peak_memory_bytes=peak_memory_bytes, size_bytes=size_bytes, steady=_mostly_steady(readings),
        )  # fmt: skip

    def comparison(self, rounds: Sequence[Round], device: str, baseline: str, candidate: str) -> Comparison:
        """What the rounds say of one form against another: those for which the device was in one state."""
        threads, kept = self.options.threads, alike(rounds)
        found = compare(kept, device, baseline, candidate, threads=threads)
        return msgspec.structs.replace(
            found,
            verdict=found.verdict if len(kept) >= min(FEWEST_ROUNDS, len(rounds)) else "unlike states",
            slope=slope_per_minute(rounds, baseline),
            remarks=remarks(rounds, baseline, candidate, threads=threads),
        )

    def _ask(self, job: str, *, timeout_s: float, forms: Sequence[Form] = (), **more: Any) -> Iterator[Line]:
        """The agent's lines, checked; ends with its `done`. Read it to the end: who leaves early leaves it running."""
        order = {
            "schema": AGENT_SCHEMA, "job": job, "runtime": self.options.runtime, "threads": self.options.threads,
            "forms": [msgspec.to_builtins(form) for form in forms], **more,
        }  # fmt: skip
        stdin = msgspec.json.encode(order) + b"\n"
        name = self.transport.name
        error = None
        # Closed here, not where the garbage is collected: an interrupt that comes while that is done would be lost.
        try:
            with closing(
                self.transport.stream(self.command, timeout_s=timeout_s, idle_s=timeout_s, stdin=stdin)
            ) as lines:
                for raw in lines:
                    line = decode(raw, name)
                    if line.done:
                        return
                    error = line.error or error
                    yield line
        except DeviceError as failure:
            if error is None:
                raise
            raise complaint(name, readable(error)) from failure
        raise MeasureError(f"{name}: the agent ended before its job did")


def _least(seconds: Iterable[float | None]) -> float | None:
    return min((s for s in seconds if s is not None), default=None)


def _traced(graph: CompiledGraph, seconds: Mapping[str, float]) -> tuple[TracedOp, ...]:
    return tuple(
        TracedOp(name=node.name, signature=node.signature, seconds=seconds[node.name])
        for node in graph.nodes
        if node.signature is not None and node.name in seconds
    )


def _ran(node: NodeLine) -> Ran:
    outputs = tuple((dtype, tuple(shape)) for output in node.outputs for dtype, shape in output.items())
    return Ran(name=node.name, op=node.op or "", outputs=outputs)


def _mostly_steady(readings: Sequence[Reading]) -> bool | None:
    """Whether at least half of the loads found a steady state; None where no load tells."""
    told = [r.steady for r in readings if r.steady is not None]
    return sum(told) * 2 >= len(told) if told else None
