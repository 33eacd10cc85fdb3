"""The best choice under a table of additive terms: a mixed-integer linear program, solved by HiGHS through scipy.

A layer's time depends on (precision, channels read, channels written), a product of three choices. It is linearised
exactly: one share y per cell, whose sums must equal the choices that it stands for. The same holds for the edges.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.recipe import Precision
from edgekit.search.price import Table, all_cells
from edgekit.search.space import LayerSpace, Point, Space, Widths

Row = dict[int, float]


@dataclass(frozen=True)
class Limit:
    """The price by `table` must be at most `at_most`."""

    table: Table
    at_most: float


class Fixed:
    """The program of a space at one shape: only precisions are left to choose, so it is small."""

    def __init__(self, space: Space, shape: Widths) -> None:
        self._space, self.shape, self._widths = space, shape, dict(shape)
        layers = tuple(
            LayerSpace(name=layer.name, precisions=layer.precisions, macs=layer.macs) for layer in space.layers
        )
        self._program = Program(Space(layers=layers, edges=space.edges))

    def solve(
        self, objective: Table, limits: Sequence[Limit] = (), *, exclude: Sequence[Point] = (), gap: float = 3e-3
    ) -> Point | None:
        """As `Program.solve`; `exclude` are points of this shape."""
        point = self._program.solve(
            self._narrowed(objective),
            [Limit(self._narrowed(limit.table), limit.at_most) for limit in limits],
            exclude=[Point(int8=known.int8, other=known.other) for known in exclude],
            gap=gap,
        )
        return None if point is None else self._space.point(point.int8, self._widths)

    def _narrowed(self, table: Table) -> Table:
        """The terms of `table` that this shape can have, widths taken out of their keys."""
        at = self._widths
        width = {
            layer.name: (at.get(layer.reads or "", 0), at.get(layer.writes or "", 0)) for layer in self._space.layers
        }
        return Table(
            constant=table.constant + sum(table.width.get(kept, 0.0) for kept in at.items()),
            unary={(n, p, 0, 0): price for (n, p, *kept), price in table.unary.items() if width[n] == tuple(kept)},
            pair={(a, b, p, q, 0): v for (a, b, p, q, kept), v in table.pair.items() if width[a][1] == kept},
        )


class Program:
    """The program of a space: variables and the rows that tie them. Solve it under any tables and limits.

    The space has one precision below float, `Space.only`: x is 1 for the layers that have it.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._words: tuple[Precision, Precision] = ("fp32", space.first)
        self._names: dict[tuple[object, ...], int] = {}
        self._integral: list[int] = []
        self._rows: list[tuple[Row, float, float]] = []
        self._widths = {group.name: group.widths for group in space.groups}
        for group in space.groups:
            row = {self._new("z", group.name, width, integral=1): 1.0 for width in group.widths}
            self._rows.append((row, 1.0, 1.0))
        for layer in space.layers:
            x = self._new("x", layer.name, integral=1)
            if self._words[1] not in layer.precisions:
                self._rows.append(({x: 1.0}, 0.0, 0.0))
        for layer in space.layers:
            if layer.reads or layer.writes:
                self._add_cells(layer.name, layer.reads, layer.writes, list(all_cells(space, layer)))
        layers = {layer.name: layer for layer in space.layers}
        for a, b in space.edges:
            self._add_joints(a, b, layers[a].writes)

    def solve(
        self,
        objective: Table,
        limits: Sequence[Limit] = (),
        *,
        exclude: Sequence[Point] = (),
        shapes: Sequence[Widths] = (),
        gap: float = 3e-3,
        nodes: int = 500,
    ) -> Point | None:
        """The point of least `objective` within `limits`; None if there is none.

        It is not in `exclude` and its widths are not in `shapes`. The same program gives the same point: it stops by
        `gap` or `nodes`, never by a clock.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_matrix

        rows = list(self._rows)
        for limit in limits:
            row, constant = self._terms(limit.table)
            scale = max(abs(v) for v in row.values()) if row else 1.0
            rows.append(({i: v / scale for i, v in row.items()}, -np.inf, (limit.at_most - constant) / scale))
        rows += [self._cut(point) for point in exclude if not point.int8 or point.precision == self._words[1]]
        rows += [({self._names[("z", *kept)]: -1.0 for kept in shape}, 1.0 - len(shape), np.inf) for shape in shapes]
        goal, _ = self._terms(objective)
        cost = np.zeros(len(self._names))
        cost[list(goal)] = list(goal.values())
        cost /= np.abs(cost).max() or 1.0
        entries = [(r, c, v) for r, (row, _, _) in enumerate(rows) for c, v in row.items()]
        matrix = csr_matrix(
            ([v for _, _, v in entries], ([r for r, _, _ in entries], [c for _, c, _ in entries])),
            shape=(len(rows), len(self._names)),
        )
        bounds = np.array([(low, high) for _, low, high in rows])
        with _stdout_kept_clean():
            found = milp(
                cost,
                constraints=LinearConstraint(matrix, bounds[:, 0], bounds[:, 1]),
                integrality=np.array(self._integral),
                bounds=Bounds(0, 1),
                options={"mip_rel_gap": gap, "node_limit": nodes},
            )
        return None if found.x is None else self._point(found.x)

    def _new(self, *name: object, integral: int = 0) -> int:
        self._names[name] = len(self._names)
        self._integral.append(integral)
        return self._names[name]

    def _precision_row(self, layer: str, cells: Sequence[tuple[int, Precision]]) -> None:
        """The shares of cells below float add up to the layer's x; all of them to 1."""
        row = {i: 1.0 for i, precision in cells if precision != "fp32"}
        row[self._names[("x", layer)]] = -1.0
        self._rows.append((row, 0.0, 0.0))

    def _width_rows(self, group: str | None, cells: Sequence[tuple[int, int]]) -> None:
        """The shares of cells at a width add up to the group's z."""
        for width in self._widths.get(group or "", ()):
            row = {i: 1.0 for i, at in cells if at == width}
            row[self._names[("z", group, width)]] = -1.0
            self._rows.append((row, 0.0, 0.0))

    def _add_cells(
        self, layer: str, reads: str | None, writes: str | None, cells: list[tuple[str, Precision, int, int]]
    ) -> None:
        made = [(self._new("y", *cell), cell) for cell in cells]
        self._rows.append(({i: 1.0 for i, _ in made}, 1.0, 1.0))
        self._precision_row(layer, [(i, cell[1]) for i, cell in made])
        self._width_rows(reads, [(i, cell[2]) for i, cell in made])
        if writes != reads:
            self._width_rows(writes, [(i, cell[3]) for i, cell in made])

    def _add_joints(self, a: str, b: str, writes: str | None) -> None:
        """One share per (precision of a, precision of b, channels between them)."""
        made = [
            (self._new("v", a, b, p, q, width), p, q, width)
            for p in self._words
            for q in self._words
            for width in self._widths.get(writes or "", (0,))
        ]
        self._rows.append(({i: 1.0 for i, *_ in made}, 1.0, 1.0))
        self._precision_row(a, [(i, p) for i, p, _, _ in made])
        self._precision_row(b, [(i, q) for i, _, q, _ in made])
        self._width_rows(writes, [(i, width) for i, _, _, width in made])

    def _terms(self, table: Table) -> tuple[Row, float]:
        """`table` as coefficients of the variables, and its constant."""
        row: Row = {}
        constant = table.constant
        for (name, precision, read, written), price in table.unary.items():
            cell = ("y", name, precision, read, written)
            if cell in self._names:
                row[self._names[cell]] = price
            elif precision == self._words[1]:
                row[self._names[("x", name)]] = row.get(self._names[("x", name)], 0.0) + price
            elif precision == "fp32":
                row[self._names[("x", name)]] = row.get(self._names[("x", name)], 0.0) - price
                constant += price
        for joint, price in table.pair.items():
            if ("v", *joint) in self._names:
                row[self._names[("v", *joint)]] = price
        for kept, price in table.width.items():
            row[self._names[("z", *kept)]] = price
        return row, constant

    def _cut(self, point: Point) -> tuple[Row, float, float]:
        """At least one choice differs from `point`'s."""
        int8 = set(point.int8)
        row, on = {}, 0
        for layer in self.space.layers:
            row[self._names[("x", layer.name)]] = -1.0 if layer.name in int8 else 1.0
            on += layer.name in int8
        for kept in point.widths:
            row[self._names[("z", *kept)]] = -1.0
            on += 1
        return row, 1.0 - on, np.inf

    def _point(self, x: NDArray[np.float64]) -> Point:
        return self.space.point(
            (layer.name for layer in self.space.layers if x[self._names[("x", layer.name)]] > 0.5),
            {g.name: max(g.widths, key=lambda w: x[self._names[("z", g.name, w)]]) for g in self.space.groups},
        )


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """HiGHS has a printf left in it (HighsMipSolverData::transformNewIntegerFeasibleSolution): it goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
