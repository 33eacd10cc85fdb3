"""Which forms to compile, so that every term of the price is seen: width pairs of layers, boundaries of edges."""

from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.search.price import cells_of
from edgekit.search.space import Point, Space

_DRAWS = 48
"""Random width vectors that compete for each place in the design."""


def mixes(space: Space, random: np.random.Generator, count: int) -> list[tuple[str, ...]]:
    """`count` sets of int8 layers, from alternating to long runs: many boundaries in some, few in others.

    >>> from edgekit.search.space import LayerSpace
    >>> space = Space(layers=tuple(LayerSpace(name=n) for n in "abcd"))
    >>> len(mixes(space, np.random.default_rng(0), 5))
    5
    """
    found = []
    for i in range(count):
        change = (0.5, 0.25, 0.12)[i % 3]
        state, chosen = bool(random.integers(2)), []
        for name in space.int8_layers:
            state ^= bool(random.random() < change)
            chosen += [name] * state
        found.append(tuple(chosen))
    return found


def shapes(
    space: Space, random: np.random.Generator, count: int, seen: Sequence[Mapping[str, int]] = ()
) -> list[dict[str, int]]:
    """At most `count` width vectors that show each layer every (read, written) pair, beside those `seen`.

    Greedy: each place goes to the draw that shows most new pairs. Stops early when all pairs were shown.
    """
    if not space.groups:
        return []
    shown = {cell for widths in seen for cell in cells_of(space, space.point((), widths))[0]}
    found: list[dict[str, int]] = []
    while len(found) < count:
        draws = [{g.name: int(random.choice(g.widths)) for g in space.groups} for _ in range(_DRAWS)]
        news = [{cell for cell in cells_of(space, space.point((), d))[0] if cell not in shown} for d in draws]
        best = max(range(_DRAWS), key=lambda i: len(news[i]))
        if not news[best]:
            break
        shown |= news[best]
        found.append(draws[best])
    return found


def design(
    spaces: Sequence[Space], seed: int, width_vectors: int, *, per_shape: int = 5, at_full: int | None = None
) -> tuple[Point, ...]:
    """The forms to compile: the uniform ones, `at_full` mixes at full width, `per_shape` mixes at each new shape.

    `spaces` are one space, in one precision below float each; all share the new shapes, and the mixes at full width.
    The same arguments give the same forms. `at_full` None is twice the layers, at least 24 and at most 96.
    """
    random, first = np.random.default_rng([seed, 1]), spaces[0]
    points = [point for space in spaces for _, point in space.uniforms]
    uniform_shapes = list(dict.fromkeys(point.widths for point in points))
    for space in (space for space in spaces if space.int8_layers):
        count = at_full if at_full is not None else min(96, max(24, 2 * len(space.int8_layers)))
        alternating = space.int8_layers[::2], space.int8_layers[1::2]
        points += [space.point(int8) for int8 in (*alternating, *mixes(space, random, count // len(spaces)))]
        for widths in uniform_shapes[1:]:
            points += [space.point(int8, dict(widths)) for int8 in mixes(space, random, 2)]
    for shape in shapes(first, random, width_vectors, [dict(widths) for widths in uniform_shapes]):
        points.append(first.point((), shape))
        for space in (space for space in spaces if space.int8_layers):
            some = (space.int8_layers, *mixes(space, random, (per_shape - 2) // len(spaces)))
            points += [space.point(int8, shape) for int8 in some]
    return tuple(dict.fromkeys(points))
