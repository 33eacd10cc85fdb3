"""The front: what nothing else beats in everything."""

from collections.abc import Sequence


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether `a` is no worse than `b` in every figure and better in one; smaller is better.

    >>> dominates((1, 2), (1, 3)), dominates((1, 3), (2, 2))
    (True, False)
    """
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def front(figures: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """The indices of the undominated, in order; of equal ones the first.

    >>> front([(1, 4), (2, 2), (3, 3), (2, 2)])
    (0, 1)
    """
    return tuple(
        i
        for i, mine in enumerate(figures)
        if not any(dominates(other, mine) for other in figures)
        and not any(tuple(figures[j]) == tuple(mine) for j in range(i))
    )
