"""What finds out what the search asks: builds forms, scores them on the host, runs them on the device."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from edgekit.bench.prices import trace_prices
from edgekit.bench.session import Bench, Form, Plan
from edgekit.core.device import Device, Facts
from edgekit.core.measurement import Conditions, Options, Round
from edgekit.core.model import measured_at
from edgekit.core.price import OpPrice
from edgekit.core.target import Target
from edgekit.devices.push import drop, stage
from edgekit.devices.transport import Transport
from edgekit.errors import (
    ArtifactError,
    ConvertError,
    DeviceError,
    LeaseError,
    MetricError,
    ModelError,
    StorageError,
    UnreachableError,
)
from edgekit.formats.vectors import vector_inputs
from edgekit.models.evaluate import loss
from edgekit.pipeline.alone import bench_on
from edgekit.pipeline.events import Event, Listener
from edgekit.pipeline.job import Job
from edgekit.pipeline.workshop import Workshop
from edgekit.search.questions import (
    Answer,
    Asked,
    Compile,
    Compiled,
    Evaluate,
    Evaluated,
    Failed,
    Measure,
    Measured,
    Profile,
    Profiled,
)
from edgekit.search.space import Fidelity, Point, Space
from edgekit.store.ledger import Ledger, device_class

PROFILE = Plan(least=3, most=3, per_process=1)
"""A form's time is the least of three fresh loads."""
COMPARE = Plan(half_width=0.01, least=10, most=30)

SHELF = 16
"""Forms that are on the device at a time to be compiled: a board's disk is small, a search compiles hundreds."""


class Answers:
    """Answers questions about forms of one model on one device. What was built is kept for the next question."""

    def __init__(
        self, job: Job, space: Space, target: Target, workshop: Workshop, transport: Transport, device: Device,
        facts: Facts, ledger: Ledger, study: str, folder: Path, listen: Listener,
    ) -> None:  # fmt: skip
        self.job, self.space, self.target, self.workshop = job, space, target, workshop
        self.transport, self.device, self.facts, self.ledger, self.study = transport, device, facts, ledger, study
        self._folder, self._listen = folder, listen
        self._forms: dict[tuple[Point, Fidelity], Form] = {}

    def of(self, question: Profile | Compile | Evaluate | Measure) -> tuple[Answer, ...]:
        """One answer for each of the question's points, in its order.

        Raises: UnreachableError, StorageError, LeaseError: nothing can be said of any form then.
        """
        fidelity = _fidelity(question)
        self.workshop.prepare(question.points, fidelity)
        match question:
            case Profile():
                return self._traced(self._each(question, self._profiled))
            case Compile():
                return self._priced(self._each(question, self._compiled))
            case Evaluate():
                return self._evaluated(question)
            case Measure():
                return self._measured(question)

    def versions(self) -> tuple[tuple[str, str], ...]:
        """(what, version) of the runtime on the device."""
        return ((self._conditions.runtime, self._conditions.runtime_version),)

    def _each(self, question: Asked, one: Callable[[Point, Fidelity], Answer]) -> tuple[Answer, ...]:
        kind, fidelity = type(question).__name__.lower(), _fidelity(question)
        found: list[Answer] = []
        for i, point in enumerate(question.points):
            text = f"{kind} {self.space.name(point)}"
            self._listen(Event(stage=kind, text=text, done=i, total=len(question.points)))  # type: ignore[arg-type]
            try:
                found.append(one(point, fidelity))
            except (UnreachableError, StorageError, LeaseError):
                raise
            except (ConvertError, ArtifactError, DeviceError, MetricError, ModelError) as error:
                found.append(Failed(point=point, reason=str(error)))
        return tuple(found)

    def _profiled(self, point: Point, fidelity: Fidelity) -> Answer:
        form = self._form(point, fidelity)
        rounds = self._bench.rounds([form], form.id, PROFILE)
        seconds = self._bench.measurement(rounds, form, device=self.device.name, conditions=self._conditions)
        memory = self._bench.peak_memory_bytes(form) if self.job.project.minimise == "memory" else None
        return Profiled(point=point, seconds=seconds.judged.least_s, peak_memory_bytes=memory)

    def _traced(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        """The answers with the ops of each form's trace; the forms take turns, so that they are traced in one state."""
        ran = [answer for answer in answers if isinstance(answer, Profiled)]
        traces = self._bench.trace([self._form(answer.point, "quick") for answer in ran])
        ops = {answer.point: found for answer, (_, found) in zip(ran, traces, strict=True)}
        self._keep_prices(trace_prices(op for found in ops.values() for op in found).values())
        return tuple(msgspec.structs.replace(a, ops=ops[a.point]) if isinstance(a, Profiled) else a for a in answers)

    def _compiled(self, point: Point, fidelity: Fidelity) -> Answer:
        return Compiled(point=point, size_bytes=self.workshop.file(point, fidelity).stat().st_size)

    def _priced(self, answers: tuple[Answer, ...]) -> tuple[Answer, ...]:
        """The answers with the ops that the device's runtime compiled and their prices; new ones are timed there."""
        built = [answer for answer in answers if isinstance(answer, Compiled)]
        found: dict[Point, Answer] = {}
        for done in range(0, len(built) if self._bench.shows_ops else 0, SHELF):
            text = f"compiling and pricing on {self.device.name}"
            self._listen(Event(stage="compile", text=text, done=done, total=len(built)))
            found |= self._price_or_fail(built[done : done + SHELF])
        return tuple(found.get(answer.point, answer) for answer in answers)

    def _price_or_fail(self, built: Sequence[Compiled]) -> dict[Point, Answer]:
        """As `_price`; where the device refuses one of several, each is tried by itself."""
        try:
            return self._price(built)
        except (UnreachableError, StorageError, LeaseError):
            raise
        except DeviceError as error:
            if len(built) == 1:
                return {built[0].point: Failed(point=built[0].point, reason=str(error))}
        return {point: answer for one in built for point, answer in self._price_or_fail([one]).items()}

    def _price(self, built: Sequence[Compiled]) -> dict[Point, Answer]:
        """A few forms priced; they are on the device no longer than that takes, but for those that were there."""
        before = set(self._forms)
        forms = [self._form(answer.point, "quick") for answer in built]
        graphs = self._bench.compile(forms)
        known = self.ledger.prices(*self._price_place)
        prices = self._bench.price_ops(forms, graphs, known=known)
        have = {price.signature for price in known}
        self._keep_prices(price for signature, price in prices.items() if signature not in have)
        new = [self._forms.pop(key) for key in set(self._forms) - before]
        drop(self.transport, self.device, (form.path.rpartition("/")[0] for form in new))
        return {
            answer.point: msgspec.structs.replace(
                answer,
                ops=tuple(prices[s] for s in graph.signatures if s in prices),
                unpriced=tuple(s for s in graph.signatures if s not in prices),
            )
            for answer, graph in zip(built, graphs, strict=True)
        }

    def _keep_prices(self, prices: Iterable[OpPrice]) -> None:
        self.ledger.save_prices(*self._price_place, prices)

    @cached_property
    def _price_place(self) -> tuple[str, str, int]:
        """Where the ledger keeps prices that hold here: class of device, runtime and version, threads."""
        conditions = self._conditions
        return (
            device_class(self.facts), f"{conditions.runtime} {conditions.runtime_version}", self.job.project.threads
        )  # fmt: skip

    def _evaluated(self, question: Evaluate) -> tuple[Answer, ...]:
        known: dict[Point, np.ndarray] = {}

        def one(point: Point, fidelity: Fidelity) -> Answer:
            if point not in known:
                rest = question.points[question.points.index(point) :]
                known.update(self.workshop.outputs(rest, fidelity))
            outputs = known.pop(point)
            quality = self.job.quality("validation", outputs, self._reference)
            return Evaluated(point=point, loss=loss(outputs, self._reference), quality=quality)

        return self._each(question, one)

    def _measured(self, question: Measure) -> tuple[Answer, ...]:
        base = self._form(question.baseline, "full")
        failed = self._not_ready(question.points)
        forms = {p: self._form(p, "full") for p in (question.baseline, *question.points) if p not in failed}
        done = self.ledger.rounds(question.digest, self.study)
        rounds = self._bench.rounds(
            list(forms.values()), base.id, COMPARE, done=done,
            on_round=lambda r: self._keep(question.digest, r, len(forms)),
        )  # fmt: skip
        found: list[Answer] = []
        for point in question.points:
            if point in failed:
                found.append(failed[point])
                continue
            form = forms[point]
            measurement = self._bench.measurement(
                rounds, form, device=self.device.name, conditions=self._conditions,
                peak_memory_bytes=self._bench.peak_memory_bytes(form),
                size_bytes=self.workshop.file(point, "full").stat().st_size,
            )  # fmt: skip
            self.ledger.add_run(question.digest, self.study, measurements=[measurement])
            comparison = self._bench.comparison(rounds, self.device.name, base.id, form.id)
            said = measured_at(self.job.model.spec.inputs)
            comparison = msgspec.structs.replace(comparison, remarks=(*comparison.remarks, *said))
            found.append(Measured(point=point, comparison=comparison, measurement=measurement))
        return tuple(found)

    def _not_ready(self, points: Sequence[Point]) -> dict[Point, Failed]:
        """Those of the points that the device can build nothing of that it runs."""
        failed = {}
        for point in points:
            try:
                self._bench.ready(self._form(point, "full"))
            except ConvertError as error:
                failed[point] = Failed(point=point, reason=str(error))
        return failed

    def _keep(self, key: str, measured: Round, forms: int) -> None:
        self.ledger.add_run(key, self.study, rounds=[measured])
        self._listen(Event(stage="measure", text=f"{forms} forms, round {measured.index + 1}", done=measured.index + 1))

    def _form(self, point: Point, fidelity: Fidelity) -> Form:
        key = self.workshop.key(point, fidelity)
        if key not in self._forms:
            path = self.workshop.file(point, fidelity)
            folder = stage(self.transport, self.device, {path.name: path, "inputs.npz": self._inputs})
            batch = self.job.model.spec.inputs[0].shape[0]
            self._forms[key] = Form(
                id=point.digest, path=f"{folder}/{path.name}", inputs=f"{folder}/inputs.npz", batch=batch
            )
            self._bench.sent(self._forms[key], self.target, path, self._inputs, self.job.model.spec.inputs)
        return self._forms[key]

    @cached_property
    def _inputs(self) -> Path:
        """What forms are run with on the device: the user's named samples, or seeded noise."""
        model, named = self.job.model, self.job.data.get("vectors")
        example = tuple(tensor.numpy() for tensor in model.example)
        arrays = vector_inputs(model.spec, named, self.job.project.seed, example)
        path = self._folder / "inputs.npz"
        np.savez(path, **{f"in_{i}": a for i, a in enumerate(arrays)})  # type: ignore[arg-type]
        return path

    @cached_property
    def _reference(self) -> np.ndarray:
        return self.job.float_outputs("validation")

    @cached_property
    def _bench(self) -> Bench:
        options = Options(threads=self.job.project.threads, runtime=self.target.runtime)
        return bench_on(self.transport, self.device, self.facts, options, listen=self._listen)

    @cached_property
    def _conditions(self) -> Conditions:
        return self._bench.version()[1]


def _fidelity(question: Asked) -> Fidelity:
    """How far the forms that a question is about are trained: only what is scored or compared is, as far as asked."""
    match question:
        case Evaluate(fidelity=fidelity):
            return fidelity
        case Measure():
            return "full"
        case _:
            return "quick"
