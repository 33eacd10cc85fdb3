"""Measuring on one device through its agent: rounds, peak memory, traces, test vectors."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgekit.bench.statistics import compare, enough, latency
from edgekit.core.measurement import Comparison, Conditions, Measurement, Options, Reading, Round
from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError, MeasureError

AGENT_SCHEMA = 1
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]


class Form(Noun, frozen=True, kw_only=True):
    """A model on the device: `path` and `inputs` (an .npz with in_0, …) are paths there; `batch` is the file's."""

    id: str
    path: str
    inputs: str
    batch: int = 1


class Plan(Noun, frozen=True, kw_only=True):
    """How long rounds go on: until the interval is within `half_width` of the ratio, from `least` to `most` rounds.

    A new process starts every `per_process` rounds, since memory layout differs from one to the next.
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
    seed: int = 0


class _Reading(Noun, frozen=True, kw_only=True):
    artifact: str
    wall_s: tuple[Seconds, ...]
    cpu_s: tuple[Seconds, ...]
    load_s: Seconds
    first_call_s: Seconds
    warmup_calls: int
    steady: bool


class _Round(Noun, frozen=True, kw_only=True):
    index: int
    readings: tuple[_Reading, ...]
    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None


class _State(Noun, frozen=True, kw_only=True):
    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None
    governor: str | None = None


class TracedNode(Noun, frozen=True, kw_only=True):
    """A node of a runtime's own trace: median microseconds, and (dtype, shape) of what it reads and writes."""

    name: str
    op: str | None
    us: Seconds
    inputs: tuple[dict[str, tuple[int, ...]], ...] = ()
    outputs: tuple[dict[str, tuple[int, ...]], ...] = ()


class _Line(Noun, frozen=True, kw_only=True):
    """A line of the agent; the device is not trusted to write one that fits."""

    version: str | None = None
    python: str | None = None
    state: _State | None = None
    round: _Round | None = None
    memory: int | None = None
    node: TracedNode | None = None
    graph: str | None = None
    vectors: tuple[float, ...] | None = None
    done: bool | None = None
    error: str | None = None


class Bench:
    """Measures forms that lie on a device, one process at a time there.

    `command` starts the agent there, e.g. ("env", "PYTHONPATH=…", "python3", "agent.py").
    """

    def __init__(self, transport: Transport, command: Sequence[str], options: Options) -> None:
        self.transport, self.command, self.options = transport, tuple(command), options

    def version(self) -> tuple[str, Conditions]:
        """The runtime's version, and the state of the device now.

        Raises: DeviceError if the runtime cannot be imported there.
        """
        line = next(line for line in self._ask("version", timeout_s=60) if line.version is not None)
        now = line.state or _State()
        conditions = Conditions(
            runtime=self.options.runtime, runtime_version=str(line.version), threads=self.options.threads,
            governor=now.governor, frequency_khz=now.frequency_khz,
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
        while len(found) < plan.most and not (
            len(found) >= plan.least and enough(found, baseline, others, plan.half_width, self.options.threads)
        ):
            before = len(found)
            indices = range(before, min(before + plan.per_process, plan.most))
            for measured in self._rounds(forms, plan, indices):
                found.append(measured)
                on_round(measured)
            if len(found) == before:
                raise MeasureError(f"{self.transport.name}: the agent ended without a round")
        return tuple(found)

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
        return next((line.memory for line in self._ask("memory", timeout_s=120, forms=[form]) if line.memory), None)

    def vectors(self, form: Form) -> tuple[float, ...]:
        """The largest difference of each output from what the host computed, over the form's test vectors."""
        return next(line.vectors for line in self._ask("vectors", timeout_s=300, forms=[form]) if line.vectors)

    def trace(self, form: Form, prefix: str, calls: int = 50) -> tuple[tuple[TracedNode, ...], str | None]:
        """The nodes of the compiled graph with their times, and the path on the device of that graph.

        `prefix` is where the agent may write on the device.
        """
        lines = list(self._ask("trace", timeout_s=300, forms=[form], prefix=prefix, calls=calls))
        nodes = tuple(line.node for line in lines if line.node is not None)
        return nodes, next((line.graph for line in lines if line.graph is not None), None)

    def measurement(
        self, rounds: Sequence[Round], form: Form, *, device: str, conditions: Conditions,
        peak_memory_bytes: int | None = None, size_bytes: int | None = None,
    ) -> Measurement:  # fmt: skip
        """What the rounds say of one form by itself."""
        readings = [r for q in rounds for r in q.readings if r.artifact == form.id]
        return Measurement(
            artifact=form.id, device=device,
            conditions=msgspec.structs.replace(conditions, temperature_end_c=rounds[-1].temperature_c),
            wall=latency(rounds, form.id, "wall"), cpu=latency(rounds, form.id, "cpu"),
            load_s=min(r.load_s for r in readings), first_call_s=min(r.first_call_s for r in readings),
            peak_memory_bytes=peak_memory_bytes, size_bytes=size_bytes, steady=_mostly_steady(readings),
        )  # fmt: skip

    def comparison(self, rounds: Sequence[Round], device: str, baseline: str, candidate: str) -> Comparison:
        """What the rounds say of one form against another."""
        return compare(rounds, device, baseline, candidate, threads=self.options.threads)

    def _ask(self, job: str, *, timeout_s: float, forms: Sequence[Form] = (), **more: Any) -> Iterator[_Line]:
        """The agent's lines, checked; ends with its `done`."""
        order = {
            "schema": AGENT_SCHEMA, "job": job, "runtime": self.options.runtime, "threads": self.options.threads,
            "forms": [msgspec.to_builtins(form) for form in forms], **more,
        }  # fmt: skip
        stdin = msgspec.json.encode(order) + b"\n"
        name = self.transport.name
        error = None
        try:
            for raw in self.transport.stream(self.command, timeout_s=timeout_s, idle_s=timeout_s, stdin=stdin):
                line = _decode(raw, name)
                if line.done:
                    return
                error = line.error or error
                yield line
        except DeviceError as failure:
            if error is None:
                raise
            raise DeviceError(f"{name}: {readable(error)}") from failure
        raise MeasureError(f"{name}: the agent ended before its job did")


def _decode(raw: bytes, name: str) -> _Line:
    try:
        return msgspec.json.decode(raw, type=_Line)
    except msgspec.DecodeError as error:
        said = readable(raw[:200].decode(errors="replace"))
        raise MeasureError(f"{name}: the agent said {said!r}, which is no line of its own: {error}") from None


def _mostly_steady(readings: Sequence[Reading]) -> bool:
    return sum(r.steady for r in readings) * 2 >= len(readings)


def agent_source() -> Path:
    """The agent's file on the host, to be sent to a device."""
    from importlib.resources import files

    return Path(str(files("edgekit.ondevice") / "agent.py"))
