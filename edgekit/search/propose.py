"""New candidates: the program solved under several budgets, freely and within each width vector that is paid for."""

from collections.abc import Iterator, Sequence
from math import exp, inf

import numpy as np

from edgekit.search.judge import prospects
from edgekit.search.price import Table
from edgekit.search.record import Beliefs
from edgekit.search.sequence import fronts
from edgekit.search.solve import Fixed, Limit, Program
from edgekit.search.space import Point, Space, Widths

_BUDGETS = (0.7, 1.0, 1.4)
"""Shares of the loss that is allowed to solve for: the sum of parts says only roughly what a form loses."""
_PARTS = (0.2, 0.5, 0.8, 0.97)
"""Shares of the loss that widths may take."""
_SLACK = (0.9, 1.04)
"""Shares of a time limit between which forms are looked at: the table errs by a few percent."""
_LEAST = 4
"""Points of a front below a time limit that are looked at however far below they are: a front may have gaps."""
_EACH = 10
"""Points taken from one front."""
_STIRS = 4
"""Fronts of each shape beside the tables' own: with seconds and losses moved by about what they err."""
_STIR_TIME, _STIR_LOSS = 0.03, 0.25


def propose(
    beliefs: Beliefs, programs: Sequence[Program], *, count: int, new_shapes: int, seed: int = 0
) -> list[Point]:
    """At most `count` points that are best by the tables and not compiled yet, in at most `new_shapes` new shapes.

    A shape is a width vector. New ones come from the programs, one for each precision below float, under several
    splits of the loss between int8 and widths; within each shape, points come from the front of its mixes in each
    precision. All compete.
    """
    record, space = beliefs.record, beliefs.space
    random = np.random.default_rng([seed, len(record.compiled)])
    shapes = [space.float_form.widths, *record.tuned()]
    built = record.built() | {space.float_form.widths}
    if space.groups and beliefs.goal.minimise != "loss":
        for program, limits in _splits(beliefs, programs):
            point = program.solve(beliefs.objective(), limits, shapes=shapes)
            if point is not None and (point.widths in built or new_shapes > 0):
                new_shapes -= point.widths not in built
                built.add(point.widths)
                shapes.append(point.widths)
    found: dict[Point, None] = {}
    for shape in dict.fromkeys(shapes):
        for part in record.spaces:
            found |= dict.fromkeys(_mixes(beliefs, part, shape, random))
    unknown = [point for point in found if point not in record.compiled and point not in record.failed]
    return [prospect.point for prospect in prospects(beliefs, unknown, "scored")[:count]]


def _mixes(beliefs: Beliefs, space: Space, shape: Widths, random: np.random.Generator) -> Iterator[Point]:
    """Points of one shape, in the one precision that `space` has, that are near the best by the tables."""
    taken = beliefs.loss(space.point((), dict(shape)), space.first)
    room = _BUDGETS[-1] * beliefs.accuracy(space.first).allowed - taken
    if room < 0 and beliefs.goal.minimise != "loss":
        return
    room = inf if beliefs.goal.minimise == "loss" else room
    time = beliefs.fit.table if beliefs.goal.minimise == "loss" else beliefs.objective()
    loss = beliefs.sensitivities.int8_table

    def stir() -> tuple[float, float]:
        seconds, lost = random.normal(0, (_STIR_TIME, _STIR_LOSS))
        return 1 - float(seconds), exp(float(lost))

    for draw in range(_STIRS + 1):
        points = fronts(space, shape, time, loss, room, stir if draw else None)
        if points is None:
            yield from _by_program(beliefs, space, shape, time, loss, room)
            return
        yield from _near_limit(beliefs, points, time, loss, room)


def _near_limit(beliefs: Beliefs, points: Sequence[Point], time: Table, loss: Table, room: float) -> list[Point]:
    """At most `_EACH` of a front's points, those near the limit that they are to keep."""
    if beliefs.goal.minimise == "loss":
        times = [time.price(beliefs.space, point) / beliefs.limit for point in points]
        inside = [p for p, t in zip(points, times, strict=True) if t <= _SLACK[1]]
        near = inside[: max(_LEAST, sum(_SLACK[0] <= t <= _SLACK[1] for t in times))]
    else:
        near = [p for p in points if room == inf or loss.price(beliefs.space, p) >= 0.4 * room] or list(points[-1:])
    return [near[i] for i in sorted({round(x) for x in np.linspace(0, len(near) - 1, _EACH)})] if near else []


def _by_program(
    beliefs: Beliefs, space: Space, shape: Widths, time: Table, loss: Table, room: float
) -> Iterator[Point]:
    """The same by the program, for nets whose layers depend on too many others."""
    program = Fixed(space, shape)
    goal, bounded = (loss, time) if beliefs.goal.minimise == "loss" else (time, loss)
    most = beliefs.limit if beliefs.goal.minimise == "loss" else room
    cuts = [point for point in beliefs.record.compiled if point.widths == shape]
    for share in (0.6, 0.7, 0.85, 1.0):
        point = program.solve(goal, [Limit(bounded, most * share)] if most < inf else [], exclude=cuts)
        if point is not None:
            cuts.append(point)
            yield point


def _splits(beliefs: Beliefs, programs: Sequence[Program]) -> Iterator[tuple[Program, list[Limit]]]:
    """What to solve under which limits: a budget of loss, a part of it for widths."""
    for share in _BUDGETS:
        for part in _PARTS:
            for program in programs:
                accuracy = beliefs.accuracy(program.space.first)
                if accuracy.allowed == inf and share != _BUDGETS[0]:
                    continue
                int8 = _loss_limit(beliefs.sensitivities.int8_table, accuracy.allowed * share * (1 - part))
                before = beliefs.recovery.before(accuracy.allowed * share * part / accuracy.weight)
                widths = _loss_limit(beliefs.sensitivities.width_table, before)
                yield program, [*int8, *widths, *_time_limit(beliefs)]


def _loss_limit(table: Table, at_most: float) -> list[Limit]:
    return [Limit(table, at_most)] if at_most < inf else []


def _time_limit(beliefs: Beliefs) -> list[Limit]:
    """Where time is not the goal, a form may still not be slower than float."""
    return [] if beliefs.goal.minimise == "latency" else [Limit(beliefs.fit.table, min(1.0, beliefs.limit))]
