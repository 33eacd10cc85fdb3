"""Which precisions below float deserve mixes, where a target holds several: what all layers in each take and lose.

A profile and a score of one form each say enough of a precision that another beats in both. Where all layers in one are
slower than float, that may be the fault of one sort of layers (a runtime may have fast matrix products in a precision,
and slow convolutions): the forms with one sort each are priced, and only the sorts that are faster stay.
"""

from collections.abc import Sequence

from edgekit.core.recipe import Precision
from edgekit.search.correct import LONE_SD, Prices
from edgekit.search.record import Record
from edgekit.search.space import Point, Space

NOISE = 1 + 2.83 * LONE_SD
"""The factor by which two lone times differ at most, in 95 of 100 cases, if they are equal."""
_FAR = 10.0
"""So many times what is allowed is too much to hope for a mix, where another precision keeps the bound."""
_WORTH = 0.01
"""A sort of layers that saves a smaller share of float's time is not worth mixes of its own."""


def whole(space: Space) -> dict[Precision, Point]:
    """The form with all layers that may have it, at full width, of each precision below float.

    >>> from edgekit.search.space import LayerSpace
    >>> list(whole(Space(layers=(LayerSpace(name="a", precisions=("fp32", "int8-dynamic")),))))
    ['int8-dynamic']
    """
    return {p: space.point(space.layers_in(p), precision=p) for p in space.precisions}


def one_sort(record: Record) -> list[Point]:
    """The forms to compile: each sort of layers alone, in each precision that is slower than float for all of them."""
    slow = [p for p, point in whole(record.space).items() if _slow(record, point)]
    return [point for precision in slow for point in _one_sort(record.space, precision).values()]


def worth_while(record: Record) -> tuple[tuple[Space, ...], list[str]]:
    """The space in each precision that deserves mixes, one at least; and what is left out of which, in words."""
    forms = whole(record.space)
    judged = {precision: _judged(record, precision, forms) for precision in forms}
    if not any(space for space, _ in judged.values()):
        fastest = min(forms, key=lambda precision: _seconds(record, forms[precision]))
        judged[fastest] = record.space.only(fastest), ""
    spaces = tuple(space for space, _ in judged.values() if space is not None)
    return spaces, [words for _, words in judged.values() if words]


def _judged(record: Record, precision: Precision, forms: dict[Precision, Point]) -> tuple[Space | None, str]:
    """The space in one precision, None if it deserves no mixes; and what is to be said of that."""
    mine, space = forms[precision], record.space.only(precision)
    for other, its in forms.items():
        if other != precision and _beaten(record, mine, its):
            figures = f"{_figures(record, mine)}, all in {other} {_figures(record, its)}"
            return None, f"No mixes of {precision} were tried: all layers in it take {figures}."
    if not _slow(record, mine):
        return space, ""
    slow = f"all layers in it take {record.lone(mine):.2f} of float's time"
    parts = _fast_sorts(record, precision)
    if not parts:
        return None, f"No mixes of {precision} were tried: {slow}{_no_sort_is_faster(record, precision)}."
    if set(parts) == set(_one_sort(record.space, precision)):
        return space, ""
    priced = ", ".join(f"{sort} layers alone are priced {share:.2f}" for sort, share in parts.items())
    words = f"Only mixes of {precision} {' and '.join(parts)} layers were tried: {slow}, {priced}."
    return record.space.only(precision, parts), words


def _beaten(record: Record, mine: Point, its: Point) -> bool:
    """Whether the other loses no more and is faster beyond the noise; or is as fast, where mine loses far too much."""
    lost, other = record.scored(mine), record.scored(its)
    if lost is None or other is None or other.loss > lost.loss:
        return False
    if {mine, its} - set(record.profiled):
        return False
    ahead = _seconds(record, mine) / _seconds(record, its)
    too_much = any(q.bound is not None and q.drop_high > _FAR * q.bound for q in lost.quality)
    return ahead > NOISE or (too_much and record.accepted(its) and ahead > 1 / NOISE)


def _slow(record: Record, point: Point) -> bool:
    return point in record.profiled and (record.lone(point) or 0.0) > NOISE


def _seconds(record: Record, point: Point) -> float:
    return record.profiled[point].seconds if point in record.profiled else float("inf")


def _one_sort(space: Space, precision: Precision) -> dict[str, Point]:
    """The form with all layers of each sort in the precision; none where there is one sort only."""
    layers = [layer for layer in space.layers if precision in layer.precisions]
    sorts = dict.fromkeys(str(layer.sort) for layer in layers)
    if len(sorts) < 2:
        return {}
    return {s: space.point([x.name for x in layers if x.sort == s], precision=precision) for s in sorts}


def _fast_sorts(record: Record, precision: Precision) -> dict[str, float]:
    """The sorts of layers that are worth it, each with what the form that has only them so is priced beside float."""
    parts = {s: p for s, p in _one_sort(record.space, precision).items() if p in record.compiled}
    known: Sequence[Point] = [record.space.float_form, *parts.values()]
    if not parts or not record.priced:
        return {}
    seconds = Prices([record.compiled[point] for point in known]).seconds
    shares = {sort: float(s / seconds[0]) for sort, s in zip(parts, seconds[1:], strict=True)}
    return {sort: share for sort, share in shares.items() if share < 1 - _WORTH}


def _no_sort_is_faster(record: Record, precision: Precision) -> str:
    return ", and no sort of them is priced faster" if record.priced and _one_sort(record.space, precision) else ""


def _figures(record: Record, point: Point) -> str:
    scored = record.scored(point)
    return f"{record.lone(point):.2f} of float's time and lose {scored.loss if scored else 0.0:.2g}"
