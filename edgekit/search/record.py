"""All that the search was told, and what follows from it: prices, sensitivities, the posterior of time, of accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edgekit.core.measurement import Comparison, Measurement
from edgekit.core.recipe import Precision
from edgekit.search.accuracy import (
    Accuracy,
    Recovery,
    Scored,
    Sensitivities,
    excess,
    fit_accuracy,
    fit_recovery,
)
from edgekit.search.correct import LONE_SD, Array, Observed, Posterior, Prices, observed_in
from edgekit.search.price import Fit, Table
from edgekit.search.questions import (
    Answer,
    Asked,
    Compiled,
    Evaluate,
    Evaluated,
    Failed,
    Goal,
    Measure,
    Measured,
    Profiled,
)
from edgekit.search.space import Point, Space, Widths


@dataclass
class Record:
    """What was told, by point. `predicted` is the share of float's time that was expected
    of a form just before it was first measured."""

    space: Space
    goal: Goal
    spaces: tuple[Space, ...] = ()
    """The space in each precision below float that is searched (hope.py may take some out); itself where it
    has none."""
    profiled: dict[Point, Profiled] = field(default_factory=dict)
    compiled: dict[Point, Compiled] = field(default_factory=dict)
    quick: dict[Point, Evaluated] = field(default_factory=dict)
    full: dict[Point, Evaluated] = field(default_factory=dict)
    measured: dict[Point, list[Measured]] = field(default_factory=dict)
    duels: dict[Point, list[Measured]] = field(default_factory=dict)
    failed: dict[Point, str] = field(default_factory=dict)
    predicted: dict[Point, float] = field(default_factory=dict)
    farmed: bool = False
    again: int = 0
    """Measurements of forms that had been measured before."""

    def __post_init__(self) -> None:
        self.spaces = self.spaces or tuple(map(self.space.only, self.space.precisions)) or (self.space,)

    def add(self, question: Asked, answers: Sequence[Answer]) -> None:
        """Keep the answers to `question`."""
        for answer in answers:
            match answer:
                case Failed(point=point, reason=reason):
                    self.failed.setdefault(point, reason)
                case Profiled(point=point):
                    self.profiled[point] = answer
                case Compiled(point=point):
                    self.compiled[point] = answer
                    self.farmed |= any(op.source == "farm" for op in answer.ops)
                case Evaluated(point=point):
                    (self.quick if isinstance(question, Evaluate) and question.fidelity == "quick" else self.full)[
                        point
                    ] = answer
                case Measured(point=point) if isinstance(question, Measure):
                    against_float = question.baseline == self.space.float_form
                    self.again += against_float and point in self.measured
                    (self.measured if against_float else self.duels).setdefault(point, []).append(answer)

    @property
    def pushes(self) -> int:
        """Forms that were put on the device, the farm counted as one; a form measured again counts again."""
        forms = {*self.profiled, *self.measured, *(p for p in self.failed if p in self.predicted)}
        return len(forms) + self.farmed + self.again

    @property
    def float_s(self) -> float:
        """The float form's seconds: as comparisons saw it, which load it most often; before any, as it was profiled."""
        told = [(a.measurement, a.comparison) for some in self.measured.values() for a in some]
        seen = [measurement.judged.least_s / comparison.judged.value for measurement, comparison in told]
        return float(np.median(seen)) if seen else self.profiled[self.space.float_form].seconds

    def lone(self, point: Point) -> float | None:
        """The profiled time as a share of float's; None where it was not profiled."""
        seen = self.profiled.get(point)
        return None if seen is None else seen.seconds / self.profiled[self.space.float_form].seconds

    @property
    def priced(self) -> bool:
        """Whether the runtime shows what it compiled."""
        form = self.compiled.get(self.space.float_form)
        return form is not None and bool(form.ops)

    def scored(self, point: Point) -> Evaluated | None:
        """`point` scored as it would be deployed: unpruned forms are the same at both fidelities."""
        if point == self.space.float_form:
            return self.full.get(point) or self.quick.get(point) or Evaluated(point=point, loss=0.0)
        if point in self.full:
            return self.full[point]
        return None if self.space.pruned(point) else self.quick.get(point)

    def accepted(self, point: Point) -> bool:
        """Whether it was scored as deployed and keeps every bound."""
        if point in self.failed or (scored := self.scored(point)) is None:
            return False
        over = excess(scored.quality)
        return over is None or over <= 0 or point == self.space.float_form

    def comparison(self, point: Point) -> Comparison | None:
        """The last comparison with float."""
        return self.measured[point][-1].comparison if point in self.measured else None

    def measurement(self, point: Point) -> Measurement | None:
        """The last measurement."""
        return self.measured[point][-1].measurement if point in self.measured else None

    def tuned(self) -> list[Widths]:
        """The width vectors that were fine-tuned."""
        return list(dict.fromkeys(point.widths for point in self.full if self.space.pruned(point)))

    def built(self) -> set[Widths]:
        """The pruned width vectors that were built at all."""
        return {p.widths for kept in (self.compiled, self.quick, self.full) for p in kept if self.space.pruned(p)}

    def observed(self) -> list[Observed]:
        """Times as shares of float's: from comparisons, and lone profiles of what was never compared."""
        seen = [Observed(self.space.float_form, 1.0, 0.001)]
        for point, answers in self.measured.items():
            seen += [observed_in(point, answer.comparison.ratio) for answer in answers]
        for point in self.profiled:
            ratio = self.lone(point)
            if ratio is not None and point not in self.measured and point != self.space.float_form:
                seen.append(Observed(point, ratio, LONE_SD * ratio))
        return seen

    def sensitivities(self) -> Sensitivities:
        """Losses of single changes, and of the float forms of whole width vectors."""
        int8: dict[tuple[str, Precision], float] = {}
        widths: dict[tuple[str, int], float] = {}
        shapes: dict[Widths, float] = {}
        for point, answer in self.quick.items():
            pruned = self.space.pruned(point)
            if len(point.int8) == 1 and not pruned:
                int8[point.int8[0], point.precision] = max(answer.loss, 0.0)
            if not point.int8 and pruned:
                shapes[point.widths] = max(answer.loss, 0.0)
                if len(pruned) == 1:
                    widths[pruned[0]] = max(answer.loss, 0.0)
        return Sensitivities(self.space, int8, widths, shapes)

    def figure(self, point: Point) -> float | None:
        """The goal's own figure where it is exact: bytes or loss; None for latency, and where it is not known."""
        compiled, measurement = self.compiled.get(point), self.measurement(point)
        match self.goal.minimise:
            case "size":
                size = compiled.size_bytes if compiled else None
                return size if size is not None or measurement is None else measurement.size_bytes
            case "memory":
                seen = [
                    compiled.memory_bytes if compiled else None,
                    measurement.peak_memory_bytes if measurement else None,
                    self.profiled[point].peak_memory_bytes if point in self.profiled else None,
                ]
                return next((memory for memory in seen if memory is not None), None)
            case "loss":
                scored = self.scored(point)
                return None if scored is None else scored.loss
            case _:
                return None


class Beliefs:
    """What follows from a record at one moment. Times are shares of float's; so are bytes where they are the goal."""

    def __init__(self, record: Record) -> None:
        self.record, self.space, self.goal = record, record.space, record.goal
        self.sensitivities = record.sensitivities()
        self.recovery = self._fit_recovery()
        searched = dict.fromkeys(space.first for space in record.spaces)
        self._accuracies = {precision: self._fit_accuracy(precision) for precision in searched}
        self.limit = np.inf if record.goal.max_seconds is None else record.goal.max_seconds / record.float_s
        observed = record.observed()
        self._posterior: Posterior | Fit
        if record.priced:
            forms = [form for form in record.compiled.values() if form.ops]
            forms.sort(key=lambda form: form.point != self.space.float_form)
            self._posterior = Posterior(self.space, Prices(forms), observed)
            points = [form.point for form in forms]
            means, _ = self._posterior.predict(points)
            self.fit = Fit(self.space, points, list(means))
        else:
            self.fit = Fit(
                self.space, [s.point for s in observed], [s.ratio for s in observed], [s.sd for s in observed]
            )
            self._posterior = self.fit

    def times(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """(mean, standard deviation) of each point's time: by its ops where it was compiled, else by the table."""
        mean, sd = self.fit.predict(points)
        known = [i for i, point in enumerate(points) if self.record.priced and self._has_ops(point)]
        if known:
            mean[known], sd[known] = self._posterior.predict([points[i] for i in known])
        return mean, sd

    def values(self, points: Sequence[Point]) -> tuple[Array, Array]:
        """(mean, standard deviation) of the goal's figure: time and bytes as shares of float's, loss as it is."""
        if self.goal.minimise == "latency":
            return self.times(points)
        if self.goal.minimise == "loss":
            known = [self.record.figure(point) for point in points]
            guess = [self.loss(point) for point in points]
            return np.array([g if k is None else k for k, g in zip(known, guess, strict=True)]), np.full(
                len(points), 1e-9
            )
        mean, sd = self.bytes_fit.predict(points)
        unit = self.record.figure(self.space.float_form) or 1.0
        for i, point in enumerate(points):
            if (figure := self.record.figure(point)) is not None:
                mean[i], sd[i] = figure / unit, 1e-6
        return mean, sd

    @cached_property
    def bytes_fit(self) -> Fit:
        """Size or memory as a table, from the forms where it is known."""
        known = [(point, figure) for point in self._everywhere() if (figure := self.record.figure(point)) is not None]
        unit = self.record.figure(self.space.float_form) or 1.0
        known = known or [(self.space.float_form, 1.0)]
        return Fit(self.space, [p for p, _ in known], [figure / unit for _, figure in known])

    def objective(self) -> Table:
        """What a solver minimises."""
        if self.goal.minimise == "loss":
            return self.sensitivities.int8_table
        return self.fit.table if self.goal.minimise == "latency" else self.bytes_fit.table

    def loss(self, point: Point, precision: Precision | None = None) -> float:
        """What it is expected to lose when it is deployed, widths weighed as the accuracy's fit found.

        `precision` is whose fit; without it, the point's own.
        """
        weight = self.accuracy(precision or point.precision).weight
        return self.sensitivities.of_int8(point) + weight * self._widths(point)[0]

    def accuracy(self, precision: Precision) -> Accuracy:
        """How losses map to the excess over the bounds for forms in that precision: sums of them err by precision.

        That of the first precision where forms in another were not scored one by one.
        """
        return self._accuracies.get(precision, next(iter(self._accuracies.values())))

    def chance(self, point: Point) -> float:
        """The probability that it keeps every bound on quality: 0 or 1 where it was scored as deployed."""
        if self.record.scored(point) is not None:
            return float(self.record.accepted(point))
        accuracy = self.accuracy(point.precision)
        return accuracy.chance(self.sensitivities.of_int8(point), *self._widths(point))

    def _widths(self, point: Point) -> tuple[float, float]:
        """(loss of its widths after fine-tuning, standard deviation of the logarithm)."""
        return self.recovery.at(point.widths, self.sensitivities.of_widths(point))

    def _has_ops(self, point: Point) -> bool:
        return point in self.record.compiled and bool(self.record.compiled[point].ops)

    def _everywhere(self) -> list[Point]:
        return list(dict.fromkeys([*self.record.compiled, *self.record.measured]))

    def _fit_recovery(self) -> Recovery:
        """From every width vector that was tuned: the form with the least int8 says best what fine-tuning left."""
        tuned: dict[Widths, tuple[float, float]] = {}
        for point, answer in self.record.full.items():
            if self.space.pruned(point):
                int8 = self.sensitivities.of_int8(point)
                if point.widths not in tuned or int8 < tuned[point.widths][0]:
                    tuned[point.widths] = int8, max(answer.loss - int8, 0.1 * answer.loss)
        full = {widths: Point(widths=widths) for widths in tuned}
        return fit_recovery([(w, self.sensitivities.of_widths(full[w]), after) for w, (_, after) in tuned.items()])

    def _fit_accuracy(self, precision: Precision) -> Accuracy:
        scored = []
        for point in dict.fromkeys([self.space.float_form, *self.record.quick, *self.record.full]):
            if point.int8 and point.precision != precision:
                continue
            answer = self.record.scored(point)
            over = None if answer is None else excess(answer.quality)
            if over is not None:
                scored.append(Scored(self.sensitivities.of_int8(point), self._widths(point)[0], over))
        return fit_accuracy(scored)
