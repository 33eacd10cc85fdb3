"""New candidates: the program solved under several budgets, freely and within each width vector that is paid for."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf

from edgekit.search.accuracy import Widths
from edgekit.search.judge import prospects
from edgekit.search.price import Table
from edgekit.search.record import Beliefs
from edgekit.search.solve import Fixed, Limit, Program
from edgekit.search.space import Point

_BUDGETS = (0.7, 1.0, 1.4)
"""Shares of the loss that is allowed to solve for: the sum of parts says only roughly what a form loses."""
_PARTS = (0.2, 0.5, 0.8, 0.97)
"""Shares of the loss that widths may take."""
_SLACK = (0.95, 0.97, 0.985, 1.0, 1.015, 1.03)
"""Shares of a time limit to solve for: the table errs by a few percent."""


def propose(beliefs: Beliefs, program: Program, *, count: int, new_shapes: int) -> list[Point]:
    """At most `count` points that are best by the tables and not compiled yet, in at most `new_shapes` new shapes.

    A shape is a width vector. Shapes that exist are solved for precisions; new ones under several splits of the loss
    between int8 and widths.
    """
    record, space, objective = beliefs.record, beliefs.space, beliefs.objective()
    found: dict[Point, None] = {}
    shapes = [space.float_form.widths, *record.tuned()]
    built = record.built() | {space.float_form.widths}
    if space.groups and beliefs.goal.minimise != "loss":
        for limits in _splits(beliefs):
            point = program.solve(objective, limits, shapes=shapes)
            if point is not None and (point.widths in built or new_shapes > 0):
                new_shapes -= point.widths not in built
                built.add(point.widths)
                shapes.append(point.widths)
    each = max(2, min(5, count // len(shapes)))
    for shape in dict.fromkeys(shapes):
        for limits in _within(beliefs, shape):
            found |= dict.fromkeys(_solve(Fixed(space, shape), beliefs, objective, limits, each, found))
    return [prospect.point for prospect in prospects(beliefs, list(found))[:count]]


def _within(beliefs: Beliefs, shape: Widths) -> Iterator[list[Limit]]:
    """The sets of limits to solve precisions under, at fixed widths."""
    if beliefs.goal.minimise == "loss":
        for share in _SLACK:
            yield [Limit(beliefs.fit.table, beliefs.limit * share)]
        return
    taken = beliefs.loss(beliefs.space.point((), dict(shape)))
    for share in _BUDGETS:
        room = beliefs.accuracy.allowed * share - taken
        if room >= 0:
            yield [*_loss_limit(beliefs.sensitivities.int8_table, room), *_time_limit(beliefs)]
        if room == inf:
            return


def _splits(beliefs: Beliefs) -> Iterator[list[Limit]]:
    """The sets of limits to solve everything under: a budget of loss, a part of it for widths."""
    allowed, weight = beliefs.accuracy.allowed, beliefs.accuracy.weight
    for share in _BUDGETS:
        for part in _PARTS:
            int8 = _loss_limit(beliefs.sensitivities.int8_table, allowed * share * (1 - part))
            before = beliefs.recovery.before(allowed * share * part / weight)
            yield [*int8, *_loss_limit(beliefs.sensitivities.width_table, before), *_time_limit(beliefs)]
        if allowed == inf:
            return


def _loss_limit(table: Table, at_most: float) -> list[Limit]:
    return [Limit(table, at_most)] if at_most < inf else []


def _time_limit(beliefs: Beliefs) -> list[Limit]:
    """Where time is not the goal, a form may still not be slower than float."""
    return [] if beliefs.goal.minimise == "latency" else [Limit(beliefs.fit.table, min(1.0, beliefs.limit))]


def _solve(
    program: Fixed,
    beliefs: Beliefs,
    objective: Table,
    limits: Sequence[Limit],
    count: int,
    besides: Mapping[Point, None],
) -> Iterator[Point]:
    """The `count` best points of one shape that are neither compiled, nor failed, nor in `besides`."""
    known = dict.fromkeys([*beliefs.record.compiled, *beliefs.record.failed, *besides])
    cuts = [point for point in known if point.widths == program.shape]
    for _ in range(count):
        point = program.solve(objective, limits, exclude=cuts)
        if point is None:
            return
        cuts.append(point)
        yield point
