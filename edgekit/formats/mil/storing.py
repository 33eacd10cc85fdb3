"""A weight in the fewest bytes that change none of its values: whole, by a palette, without its zeros, or both.

What a file can hold differs by its deployment target (`edgekit.formats.mil.deployment`). A compression step that moves
weights onto few values, or many of them to zero, is recognised here by what it left; nothing is approximated.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

OVERHEAD_BYTES = 512
"""What the ops and the headers of a form take at most besides its content: a form that saves less is not smaller."""
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32}


class Held(NamedTuple):
    """The forms that a file can hold: the bits of palettes (none: no palettes), and what else.

    `blocks`: a palette for each block of a weight; `sparse`: weights without their zeros; `joint`: both at once, and
    palettes of integers.
    """

    palette_bits: tuple[int, ...] = ()
    blocks: bool = False
    sparse: bool = False
    joint: bool = False


class Stored(NamedTuple):
    """A weight's form, and the bytes of its content.

    `mask` (of the weight's shape) is where it is not zero, None: zeros are kept. `table` is (*blocks, 2**bits) with
    `codes` into each block's, None: there is no palette, and `values` are kept. Behind a mask, codes and values are
    those that are not zero, in order.
    """

    size_bytes: int
    values: np.ndarray
    mask: np.ndarray | None = None
    codes: np.ndarray | None = None
    table: np.ndarray | None = None
    bits: int = 0


def smallest(values: np.ndarray, held: Held, grids: Sequence[tuple[int, ...]], *, bits: int) -> Stored:
    """`values` in the smallest of the forms that are `held`, of `bits` for each value where they are kept.

    `grids` are the blocks that may have palettes of their own, each as the number of blocks along every axis. A zero
    has no sign.

    >>> stored = smallest(np.array([[3.0, 0.5] * 999], np.float32), Held((1, 2)), [(1, 1)], bits=32)
    >>> stored.table.tolist(), stored.codes[0, :3].tolist(), stored.size_bytes
    ([[[0.5, 3.0]]], [1, 0, 1], 258)
    """
    values = np.where(values == 0, values.dtype.type(0), values)
    whole = Stored(-(-values.size * bits // 8), values)
    found = list(_palettes(values, held, grids, whole.size_bytes))
    if held.sparse:
        mask = values != 0
        rest = values[mask]
        mask_bytes = -(-mask.size // 8)
        found.append(Stored(mask_bytes + -(-rest.size * bits // 8), rest, mask))
        if held.joint and 0 < rest.size < values.size:
            found += _sparse_palettes(rest, mask, held, mask_bytes)
    best = min(found, key=lambda stored: stored.size_bytes, default=whole)
    return best if best.size_bytes + OVERHEAD_BYTES < whole.size_bytes else whole


def grids_along(shape: Sequence[int], axis: int, held: Held) -> list[tuple[int, ...]]:
    """The blocks of a weight of this `shape` along its output channels.

    >>> grids_along((4, 3), 0, Held((4,), blocks=True))
    [(1, 1), (2, 1), (4, 1)]
    """
    parts = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0] if held.blocks else [1]
    return [tuple(n if i == axis else 1 for i in range(len(shape))) for n in parts]


def _palettes(values: np.ndarray, held: Held, grids: Sequence[tuple[int, ...]], most_bytes: int) -> Iterator[Stored]:
    """The best palette, if one takes fewer bytes than `most_bytes`."""
    best, least_bits = None, 1
    for grid in sorted(grids, key=prod, reverse=True):
        if _palette_bytes(values, grid, least_bits) >= most_bytes:
            continue
        rows = np.sort(_rows(values, grid), axis=1)
        bits = _bits(1 + int((rows[:, 1:] != rows[:, :-1]).sum(axis=1).max(initial=0)), held)
        if bits is None:
            break
        least_bits = bits
        if (size := _palette_bytes(values, grid, bits)) < most_bytes:
            best, most_bytes = (grid, bits), size
    if best is not None:
        yield _palette(values, *best)


def _sparse_palettes(rest: np.ndarray, mask: np.ndarray, held: Held, mask_bytes: int) -> Iterator[Stored]:
    """One palette for all that is not zero."""
    for stored in _palettes(rest, held, [(1,)], rest.nbytes):
        shaped = None if stored.table is None else stored.table.reshape(*[1] * mask.ndim, -1)
        yield stored._replace(size_bytes=mask_bytes + stored.size_bytes, mask=mask, table=shaped)


def _palette_bytes(values: np.ndarray, grid: tuple[int, ...], bits: int) -> int:
    return -(-values.size * bits // 8) + prod(grid) * 2**bits * values.itemsize


def _bits(count: int, held: Held) -> int | None:
    return next((bits for bits in sorted(held.palette_bits) if 2**bits >= count), None)


def _rows(values: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """(blocks, values of a block), as unsigned numbers of the same bits."""
    parts = [n for size, count in zip(values.shape, grid, strict=True) for n in (count, size // count)]
    apart = values.reshape(parts).transpose([*range(0, len(parts), 2), *range(1, len(parts), 2)])
    return np.ascontiguousarray(apart.reshape(prod(grid), -1)).view(_UNSIGNED[values.itemsize])


def _from_rows(rows: np.ndarray, shape: tuple[int, ...], grid: tuple[int, ...]) -> np.ndarray:
    parts = [*grid, *(size // count for size, count in zip(shape, grid, strict=True))]
    order = [i for axis in range(len(shape)) for i in (axis, len(shape) + axis)]
    return rows.reshape(parts).transpose(order).reshape(shape)


def _palette(values: np.ndarray, grid: tuple[int, ...], bits: int) -> Stored:
    rows = _rows(values, grid)
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    ranks = np.zeros(rows.shape, np.uint8)
    ranks[:, 1:] = np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1)
    codes, table = np.empty(rows.shape, np.uint8), np.zeros((len(rows), 2**bits), rows.dtype)
    np.put_along_axis(codes, order, ranks, axis=1)
    np.put_along_axis(table, ranks.astype(np.int64), ordered, axis=1)
    return Stored(
        _palette_bytes(values, grid, bits), values, codes=_from_rows(codes, values.shape, grid),
        table=table.view(values.dtype).reshape(*grid, 2**bits), bits=bits,
    )  # fmt: skip
