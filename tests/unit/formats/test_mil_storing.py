"""Weights in the fewest bytes: whatever form is chosen, the same values come out, in as many bytes as it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.formats.mil.grid import Grid, digest_of
from edgekit.formats.mil.storing import OVERHEAD_BYTES, Held, Stored, grids_along, smallest

ALL = Held((1, 2, 3, 4, 6, 8), blocks=True, sparse=True, joint=True)
OLD = Held((1, 2, 4, 6, 8), sparse=True)


def opened(stored: Stored, shape: tuple[int, ...]) -> np.ndarray:
    """The values again."""
    values = stored.values
    if stored.codes is not None and stored.table is not None:
        table = stored.table
        if stored.mask is not None:
            values = table.reshape(-1)[stored.codes]
        else:
            for axis, size in enumerate(shape):
                table = np.repeat(table, size // table.shape[axis], axis)
            values = np.take_along_axis(table, stored.codes[..., None].astype(np.int64), axis=-1)[..., 0]
    if stored.mask is None:
        return values
    found = np.zeros(shape, values.dtype)
    found[stored.mask] = values
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(((64, 48), (32, 16, 3, 3), (96, 1, 3, 3), (16, 300))),
    st.sampled_from((2, 5, 16, 40, 200, 100_000)), st.sampled_from((0.0, 0.5, 0.9, 1.0)),
    st.sampled_from((np.float32, np.float16)), st.sampled_from((ALL, OLD, Held())), st.booleans(),
    st.integers(0, 1000),
)  # fmt: skip
def test_every_form_gives_back_what_was_put_in_and_is_never_larger(
    shape: tuple[int, ...], count: int, zeros: float, dtype: type, held: Held, grouped: bool, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    few = draw.standard_normal(count).astype(dtype)
    values = draw.choice(few, shape)
    if grouped:
        values *= (1 + np.arange(shape[0]) % 4 / 8).astype(dtype).reshape(-1, *[1] * (len(shape) - 1))
    values[draw.random(shape) < zeros] = -0.0
    stored = smallest(values, held, grids_along(shape, 0, held), bits=8 * values.itemsize)
    assert np.array_equal(opened(stored, shape), values)
    assert stored.size_bytes <= values.nbytes
    said = -(-stored.codes.size * stored.bits // 8) if stored.codes is not None else stored.values.nbytes
    said += stored.table.nbytes if stored.table is not None else 0
    said += -(-stored.mask.size // 8) if stored.mask is not None else 0
    assert stored.size_bytes == said
    if stored.table is not None:
        assert stored.bits in held.palette_bits
        assert stored.table.shape[-1] == 2**stored.bits
    assert (stored.mask is None) or held.sparse


def test_the_smallest_form_is_taken() -> None:
    draw = np.random.default_rng(0)
    shape = (64, 64, 3, 3)
    few = draw.choice(draw.standard_normal(16).astype(np.float32), shape)
    scaled = few * (1 + np.arange(64, dtype=np.float32).reshape(-1, 1, 1, 1) // 16)
    thin = np.where(draw.random(shape) < 0.8, np.float32(0), draw.standard_normal(shape).astype(np.float32))
    both = np.where(draw.random(shape) < 0.8, np.float32(0), few)

    def form(values: np.ndarray, held: Held) -> tuple[bool, bool, int, int]:
        stored = smallest(values, held, grids_along(shape, 0, held), bits=32)
        blocks = 0 if stored.table is None else stored.table.size // 2**stored.bits
        return stored.mask is not None, stored.table is not None, stored.bits, blocks

    assert form(few, ALL) == (False, True, 4, 1)
    assert form(scaled, ALL) == (False, True, 4, 4)
    assert form(scaled, OLD) == (False, True, 6, 1)
    assert form(thin, ALL) == form(thin, OLD) == (True, False, 0, 0)
    assert form(both, ALL) == (True, True, 4, 1)
    assert form(both, OLD) == (False, True, 6, 1)
    assert form(draw.standard_normal(shape).astype(np.float32), ALL) == (False, False, 0, 0)


def test_what_saves_less_than_the_ops_around_it_take_stays_whole() -> None:
    values = np.ones((8, OVERHEAD_BYTES // 32), np.float32)
    assert smallest(values, ALL, grids_along(values.shape, 0, ALL), bits=32).table is None


def test_a_grid_has_a_scale_for_each_channel_or_group_and_none_off_zero() -> None:
    steps = np.arange(-8, 8, dtype=np.int8).reshape(2, 8)
    grid = Grid.of_rows(steps, np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4), 0, 7)
    assert (grid.scale.shape, grid.bits, grid.is_per_channel) == ((2, 2), 4, False)
    assert grid.values.tolist() == (steps * np.repeat([[1, 2], [3, 4]], 4, axis=1)).tolist()
    assert digest_of(grid.values) == digest_of(-1 * -grid.values.reshape(-1))
    assert Grid.of_rows(steps, np.ones(2), np.zeros(2), 0, 127).is_per_channel
    with pytest.raises(ValueError, match="zero"):
        Grid.of_rows(steps, np.ones(2), np.ones(2), 0, 127)
