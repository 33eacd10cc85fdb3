"""Every precision mix of one shape that no other one beats in both time and loss: dynamic programming over the layers.

Layers are decided in order of execution. A state is the precisions of the layers that later ones still depend on (by
an edge); it keeps the partial mixes that are not dominated. One pass gives the whole front, for every budget of loss.
Exact while a state holds fewer than `_KEPT` of them; beyond that, the cheapest of each step of loss is kept.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.recipe import Precision
from edgekit.search.price import Joint, Table
from edgekit.search.space import Point, Space, Widths

_KEPT = 400
WIDEST = 8
"""Layers that may wait for a later one at a time; nets with more are left to the program."""


@dataclass(frozen=True)
class _Partial:
    """Partial mixes in one state, ascending in loss and descending in time; `int8` has a row a mix."""

    time: NDArray[np.float64]
    loss: NDArray[np.float64]
    int8: NDArray[np.bool_]


def fronts(
    space: Space,
    shape: Widths,
    time: Table,
    loss: Table,
    most: float,
    stir: Callable[[], tuple[float, float]] | None = None,
) -> list[Point] | None:
    """The undominated points of `shape` with a loss of at most `most`, ascending in loss; None if the net is too wide.

    `space` has one precision below float; `loss` has terms per layer only. `stir` gives factors of (time saved, loss)
    for each layer: another front nearby.
    """
    names = [layer.name for layer in space.layers]
    index = {name: i for i, name in enumerate(names)}
    edges = [tuple(sorted((index[a], index[b]))) for a, b in space.edges]
    last = {i: max([b for a, b in edges if a == i], default=i) for i in range(len(names))}
    if max(sum(last[i] > at for i in range(at + 1)) for at in range(len(names))) > WIDEST:
        return None
    costs = _Costs(space, shape, time, loss)
    states: dict[tuple[bool, ...], _Partial] = {(): _Partial(np.zeros(1), np.zeros(1), np.zeros((1, len(names)), bool))}
    waiting: list[int] = []
    for i, layer in enumerate(space.layers):
        after = [j for j in (*waiting, i) if last[j] > i]
        stirred = stir() if stir else (1.0, 1.0)
        grown: dict[tuple[bool, ...], list[_Partial]] = {}
        for state, partial in states.items():
            known: dict[int, bool] = dict(zip(waiting, state, strict=True))
            for int8 in (False, True)[: len(layer.precisions)]:
                known[i] = int8
                seconds, lost = costs.of(i, known, stirred)
                key = tuple(known[j] for j in after)
                chosen = partial.int8.copy()
                chosen[:, i] = int8
                grown.setdefault(key, []).append(_Partial(partial.time + seconds, partial.loss + lost, chosen))
        states = {key: _undominated(parts, most) for key, parts in grown.items()}
        waiting = after
    whole = _undominated(list(states.values()), most)
    widths = dict(shape)
    return [space.point([names[j] for j in np.flatnonzero(row)], widths) for row in whole.int8]


class _Costs:
    """What a layer's choice adds, given the choices of the layers before it that it has an edge with."""

    def __init__(self, space: Space, shape: Widths, time: Table, loss: Table) -> None:
        at = dict(shape)
        self._cells = [(x.name, at.get(x.reads or "", 0), at.get(x.writes or "", 0)) for x in space.layers]
        self._time, self._loss = time, loss
        self._words: tuple[Precision, Precision] = ("fp32", space.first)
        index = {layer.name: i for i, layer in enumerate(space.layers)}
        self._edges: list[list[tuple[int, int, int]]] = [[] for _ in space.layers]
        for a, b in space.edges:
            i, j = index[a], index[b]
            self._edges[max(i, j)].append((i, j, self._cells[i][2]))

    def of(self, i: int, int8: dict[int, bool], stirred: tuple[float, float]) -> tuple[float, float]:
        """(seconds, loss)."""
        name, read, written = self._cells[i]
        word = self._words[int8[i]]
        seconds = self._time.unary.get((name, word, read, written), 0.0)
        if int8[i]:
            plain = self._time.unary.get((name, "fp32", read, written), 0.0)
            seconds = plain + (seconds - plain) * stirred[0]
        for a, b, width in self._edges[i]:
            joint: Joint = (self._cells[a][0], self._cells[b][0], self._words[int8[a]], self._words[int8[b]], width)
            seconds += self._time.pair.get(joint, 0.0)
        return seconds, self._loss.unary.get((name, word, read, written), 0.0) * stirred[1]


def _undominated(parts: Sequence[_Partial], most: float) -> _Partial:
    """The partial mixes within `most` that no other one beats in both; at most `_KEPT`, spread over the losses."""
    time = np.concatenate([p.time for p in parts])
    loss = np.concatenate([p.loss for p in parts])
    int8 = np.concatenate([p.int8 for p in parts])
    order = np.lexsort((time, loss))
    order = order[loss[order] <= most]
    before = np.minimum.accumulate(np.concatenate([[np.inf], time[order]]))[:-1]
    order = order[time[order] < before]
    if len(order) > _KEPT:
        step = np.floor(loss[order] / loss[order][-1] * _KEPT)
        order = order[np.append(step[1:] != step[:-1], True)]
    return _Partial(time[order], loss[order], int8[order])
