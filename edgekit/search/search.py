"""The search, asked and told: profile, score single changes, compile, price, solve, measure, correct, and choose.

    search = Search(space)
    while not isinstance(question := search.ask(), Done):
        search.tell(answer(question))

Where a target holds several precisions below float, what all layers in each take and lose comes first, and says which
of them are searched any further (hope.py).

It reads no clock and no file and draws from its own seed: the same answers give the same questions.
"""

from collections.abc import Generator, Sequence

from edgekit.errors import MeasureError, UsageError
from edgekit.search import judge
from edgekit.search.design import design
from edgekit.search.explain import finish
from edgekit.search.hope import one_sort, whole, worth_while
from edgekit.search.propose import propose
from edgekit.search.questions import (
    Answer,
    Compile,
    Compiled,
    Done,
    Effort,
    Evaluate,
    Evaluated,
    Failed,
    Goal,
    Measure,
    Measured,
    Profile,
    Profiled,
    Question,
)
from edgekit.search.record import Beliefs, Record
from edgekit.search.solve import Program
from edgekit.search.space import SHARES, Fidelity, Point, Space

_BATCH = 4
_CANDIDATES = 20
_SHAPES = 6
"""New width vectors in one turn."""
_TURNS = 3
"""Turns of solve, compile and score before forms are measured: prices are good, and the device is dear."""
_ENOUGH = 30
"""Forms to measure before saying that none is better than the best uniform one, where the budget allows."""

_ANSWER: dict[type, type] = {Profile: Profiled, Compile: Compiled, Evaluate: Evaluated, Measure: Measured}

Steps = Generator[Question, None, None]


class Search:
    """A search over `space` for the best form by `goal`, within `effort`."""

    def __init__(self, space: Space, goal: Goal | None = None, effort: Effort | None = None, seed: int = 0) -> None:
        self.space, self.effort, self._seed = space, effort or Effort(), seed
        self.record = Record(space, goal or Goal())
        self._programs: tuple[Program, ...] = ()
        self._notes: list[str] = []
        self._steps = self._run()
        self._question: Question = next(self._steps)

    def ask(self) -> Question:
        """The question that is open; `Done` at the end. Asking again gives the same one."""
        return self._question

    def tell(self, answers: Sequence[Answer]) -> None:
        """Take the answers to the open question, one per point and in its order.

        Raises: UsageError if they do not fit the question; MeasureError if the float form cannot be run.
        """
        question = self._question
        if isinstance(question, Done) or [a.point for a in answers] != list(question.points):
            raise UsageError(f"search: answers do not fit the open question, {type(question).__name__}")
        wrong = [a for a in answers if not isinstance(a, (Failed, _ANSWER[type(question)]))]
        if wrong:
            raise UsageError(f"search: {type(wrong[0]).__name__} is no answer to {type(question).__name__}")
        self.record.add(question, answers)
        if (reason := self.record.failed.get(self.space.float_form)) is not None:
            raise MeasureError(f"the float form: {reason}")
        self._question = next(self._steps)

    def stop(self, reason: str) -> None:
        """End now: the next question is `Done`, with the best of what is known."""
        if not isinstance(self._question, Done):
            self._notes.append(f"Stopped: {reason}.")
            self._steps.close()
            self._question = finish(self.record, self._notes)

    def _run(self) -> Steps:
        if len(self.space.precisions) > 1:
            yield from self._choose_precisions()
        self._programs = tuple(map(Program, self.record.spaces))
        yield from self._profile()
        yield from self._score_single_changes()
        yield from self._compile(self._design())
        yield from self._score_uniforms()
        if self.record.goal.minimise != "loss":
            yield from self._measure(self._to_compare)
        while (yield from self._round()):
            pass
        yield from self._duel()
        yield finish(self.record, self._notes)

    @property
    def _uniforms(self) -> list[Point]:
        """The uniform forms that the budget has room for: four pushes and the farm are kept for others."""
        room = max(1 + len(self.space.precisions), self.effort.pushes - 5, 2)
        spent = [point for point in self.record.profiled if point not in self._searched]
        return self._searched[: room - len(spent)]

    @property
    def _searched(self) -> list[Point]:
        """The uniform forms, float first, in the precisions that are searched."""
        known = {point for space in self.record.spaces for _, point in space.uniforms}
        return [point for _, point in self.space.uniforms if point in known]

    @property
    def _to_compare(self) -> list[Point]:
        """The uniform forms below float, to be measured beside it whatever is hoped of them.

        Where every precision is left to some sorts of layers, that is the whole form that was fastest alone: it is in
        rounds, never by lone times, that a form loses to float.
        """
        uniforms = [point for point in self._uniforms[1:] if point not in self.record.failed]
        alone = {p: self.record.profiled[p].seconds for p in whole(self.space).values() if p in self.record.profiled}
        return uniforms or sorted(alone, key=alone.__getitem__)[:1]

    def _choose_precisions(self) -> Steps:
        """Profile and score what all layers in each precision give; go on with those that this leaves a hope for."""
        points = (self.space.float_form, *whole(self.space).values())
        yield Profile(points=points)
        yield Evaluate(points=points, fidelity="quick")
        if self.record.profiled[self.space.float_form].ops:
            yield Compile(points=(*points, *one_sort(self.record)))
        self.record.spaces, notes = worth_while(self.record)
        self._notes += notes

    def _profile(self) -> Steps:
        left_out = [self.space.name(point) for point in self._searched if point not in self._uniforms]
        if left_out:
            self._notes.append(
                f"{self.effort.pushes} pushes leave no room for the uniform forms {', '.join(left_out)}."
            )
        waiting = [p for p in self._uniforms if p not in self.record.profiled and p not in self.record.failed]
        if waiting:
            yield Profile(points=tuple(waiting))

    def _score_single_changes(self) -> Steps:
        points = [self.space.float_form]
        points += [space.point([name]) for space in self.record.spaces for name in space.int8_layers]
        points += [self.space.point((), dict([kept])) for kept in self._single_widths()]
        points += self._searched
        waiting = [point for point in dict.fromkeys(points) if point not in self.record.quick]
        if waiting:
            yield Evaluate(points=tuple(waiting), fidelity="quick")

    def _single_widths(self) -> list[tuple[str, int]]:
        """Each group alone at each width, those of about half its channels first, as many as a third of the shapes."""
        order = []
        for share in (0.5, 0.75, 0.25, 0.0, 0.9):
            for group in self.space.groups:
                width = min(
                    (w for w in group.widths if w < group.full), key=lambda w: abs(w / group.full - share), default=0
                )
                if width:
                    order.append((group.name, width))
        rest = [(g.name, w) for g in self.space.groups for w in g.widths if w < g.full]
        return list(dict.fromkeys(order + rest))[: self.effort.shapes // 3]

    def _design(self) -> Sequence[Point]:
        """The forms that show every term of the price, as many as half of the effort's compiles."""
        forms = design(self.record.spaces, self._seed, self.effort.shapes // 3)
        return forms[: max(len(self._searched), self.effort.compiles // 2)]

    def _compile(self, points: Sequence[Point]) -> Steps:
        """Compile `points`; where the runtime shows no ops, only what is needed to know sizes."""
        profile = self.record.profiled[self.space.float_form]
        if not profile.ops and not self.record.compiled:
            points = self._searched
            self._notes.append("The runtime shows no ops: times are fitted to whole models as they are measured.")
        waiting = [p for p in points if p not in self.record.compiled and p not in self.record.failed]
        if waiting:
            yield Compile(points=tuple(waiting))

    def _score_uniforms(self) -> Steps:
        """Score the uniform forms as deployed, larger shares first; at most half of the tunings go to them."""
        room = max(1, self.effort.tunings // 2)
        shares = [share for share in SHARES[1:] if self.space.pruned(self.space.at_share(share))][:room]
        points = [
            space.at_share(share, int8)
            for share in shares for space in self.record.spaces for int8 in ((), space.int8_layers)
        ]  # fmt: skip
        yield from self._score(points, "full")

    def _score(self, points: Sequence[Point], fidelity: Fidelity) -> Steps:
        waiting = [p for p in dict.fromkeys(points) if self.record.scored(p) is None and p not in self.record.failed]
        if waiting:
            yield Evaluate(points=tuple(waiting), fidelity=fidelity)

    def _measure(self, points: Sequence[Point]) -> Steps:
        if points:
            times, _ = Beliefs(self.record).times(points)
            for point, time in zip(points, times, strict=True):
                self.record.predicted.setdefault(point, float(time))
            yield Measure(points=tuple(points), baseline=self.space.float_form)

    def _round(self) -> Generator[Question, None, bool]:
        """One turn of solve, compile, score, measure; whether another one is worth it."""
        room = self.effort.pushes - self.record.pushes
        if room <= 0:
            self._notes.append(f"All {self.effort.pushes} pushes are spent.")
            return False
        for _ in range(_TURNS):
            told = len(self.record.full)
            yield from self._compile(self._proposals())
            yield from self._score(judge.to_score(Beliefs(self.record), 2 * _BATCH), "full")
            yield from self._tune()
            if len(self.record.full) == told:
                break
        batch = judge.to_measure(Beliefs(self.record), min(_BATCH, room))
        if not batch:
            batch = yield from self._prove(room)
        yield from self._measure(batch)
        return bool(batch)

    def _proposals(self) -> list[Point]:
        """New candidates, as many as the effort leaves room for."""
        count = min(_CANDIDATES, self.effort.compiles - len(self.record.compiled))
        fresh = min(_SHAPES, self.effort.shapes - len(self.record.built()))
        if count <= 0:
            return []
        return propose(Beliefs(self.record), self._programs, count=count, new_shapes=fresh, seed=self._seed)

    def _tune(self, worth: float = judge.WORTH) -> Steps:
        """Score new width vectors quickly, then fine-tune the best of those with this chance or more."""
        left = self.effort.tunings - len(self.record.tuned())
        if left <= 0:
            return
        hopeful = judge.to_tune(Beliefs(self.record), 6, 1, worth=worth)
        quick = [self.space.point((), dict(point.widths)) for point in hopeful]
        quick = [p for p in dict.fromkeys(quick) if p not in self.record.quick and p not in self.record.failed]
        if quick:
            yield Evaluate(points=tuple(quick), fidelity="quick")
        yield from self._score(judge.to_tune(Beliefs(self.record), min(2, left), 3, worth=worth), "full")

    def _prove(self, room: int) -> Generator[Question, None, list[Point]]:
        """Forms to measure although none is likely better: until it is shown that none beats the best uniform one."""
        beliefs = Beliefs(self.record)
        enough = len(self.record.measured) >= _ENOUGH or self.record.goal.minimise != "latency"
        if enough or judge.beats_uniforms(beliefs, judge.best(beliefs)):
            return []
        yield from self._tune(judge.WORTH / 10)
        yield from self._score(judge.to_prove(Beliefs(self.record), _BATCH), "full")
        return judge.runners_up(Beliefs(self.record), min(_BATCH, room))

    def _duel(self) -> Steps:
        """The uniform forms that might be chosen as well, against the choice, in rounds of their own."""
        beliefs = Beliefs(self.record)
        leader = judge.best(beliefs)
        rivals = judge.rivals(beliefs, leader)
        if self.record.goal.minimise == "latency" and rivals and not self.space.is_uniform(leader):
            yield Measure(points=tuple(rivals), baseline=leader)
