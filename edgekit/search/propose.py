"""New candidates: the program solved under several budgets, freely and within each width vector that is paid for."""

from collections.abc import Iterator, Mapping, Sequence

from edgekit.search.price import Table
from edgekit.search.record import Beliefs
from edgekit.search.solve import Limit, Program
from edgekit.search.space import Point

_SLACK = (0.95, 0.97, 0.985, 1.0, 1.015, 1.03)
"""Shares of a time limit to solve for: the table errs by a few percent."""


def propose(beliefs: Beliefs, program: Program, *, count: int, new_shapes: int) -> list[Point]:
    """About `count` points that are best by the tables and not compiled yet, in at most `new_shapes` new width vectors.

    Each budget gives its best point of any shape first, then its best within the shapes that exist.
    """
    record, objective = beliefs.record, beliefs.objective()
    tuned = [shape for shape in record.tuned() if beliefs.chance(beliefs.space.point((), dict(shape))) > 0.05]
    own = [beliefs.space.float_form.widths, *tuned]
    cases = list(_limits(beliefs))
    each = max(1, count // max(1, len(cases) * (len(own) + bool(beliefs.space.groups))))
    found: dict[Point, None] = {}
    built = record.built() | {beliefs.space.float_form.widths}
    for limits in cases:
        if beliefs.space.groups:
            for point in _solve(program, beliefs, objective, limits, None, 1):
                if point.widths in built or new_shapes > 0:
                    new_shapes -= point.widths not in built
                    built.add(point.widths)
                    found[point] = None
                    found |= dict.fromkeys(_solve(program, beliefs, objective, limits, dict(point.widths), each, found))
        for shape in own:
            found |= dict.fromkeys(_solve(program, beliefs, objective, limits, dict(shape), each, found))
    return list(found)


def _limits(beliefs: Beliefs) -> Iterator[list[Limit]]:
    """The sets of limits to solve under."""
    if beliefs.goal.minimise == "loss":
        for share in _SLACK:
            yield [Limit(beliefs.fit.table, beliefs.limit * share)]
        return
    loss = beliefs.loss_table()
    for budget in beliefs.accuracy.budgets():
        limits = [Limit(loss, budget)] if budget < 1e300 else []
        if beliefs.goal.minimise != "latency":
            limits.append(Limit(beliefs.fit.table, min(1.0, beliefs.limit)))
        yield limits


def _solve(
    program: Program,
    beliefs: Beliefs,
    objective: Table,
    limits: Sequence[Limit],
    widths: Mapping[str, int] | None,
    count: int,
    besides: Mapping[Point, None] | None = None,
) -> Iterator[Point]:
    """The `count` best points that are neither compiled, nor failed, nor in `besides`."""
    record, given, cuts = beliefs.record, 0, list[Point]()
    while given < count and len(cuts) < 3 * count + 6:
        point = program.solve(objective, limits, exclude=cuts, widths=widths)
        if point is None:
            return
        cuts.append(point)
        if point not in record.compiled and point not in record.failed and point not in (besides or {}):
            given += 1
            yield point
