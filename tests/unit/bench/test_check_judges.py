"""When a layer is wrong: beyond what rounding does to it, as a whole, anywhere, or in one unit."""

import numpy as np
import pytest

from edgekit.bench.check import first_wrong, layer_rows, off
from edgekit.core.layer import LayerSpec
from edgekit.formats.layers import Layers

PLACES, UNITS = 128, 32


def layer(name: str = "a", step: float = 0.1, **rounding: float) -> LayerSpec:
    return LayerSpec(
        name=name,
        op="conv2d",
        module=name,
        call=name,
        value=name,
        shape=(1, UNITS, 8, 8),
        axis=1,
        step=step,
        **rounding,
    )


def exact(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 127, (PLACES, UNITS)).astype(np.int16)


def off_by_one(share: float) -> np.ndarray:
    return exact() + (np.random.default_rng(1).random((PLACES, UNITS)) < share)


def test_what_is_equal_is_right() -> None:
    found = off(layer(), exact(), exact(), quantized=True)
    assert (found.wrong, found.share, found.most, found.rms) == (False, 0.0, 0.0, 0.0)


def test_what_rounding_does_to_a_deep_layer_is_no_fault() -> None:
    deep = layer(rounding=0.5, rounding_unit=0.6, rounding_most=2.0)
    assert not off(deep, off_by_one(0.25), exact(), quantized=True).wrong
    assert off(layer(), off_by_one(0.25), exact(), quantized=True).wrong


def test_one_unit_that_is_off_makes_its_layer_wrong_and_is_named() -> None:
    got = exact()
    got[:, 7] += 1
    found = off(layer(), got, exact(), quantized=True)
    assert found.wrong
    assert found.rms < 0.3
    assert (found.unit, found.unit_rms) == (7, 1.0)


def test_one_value_that_is_far_off_makes_its_layer_wrong() -> None:
    got = exact()
    got[3, 4] += 3
    assert off(layer(), got, exact(), quantized=True).wrong


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_wrong(bad: float) -> None:
    wanted = exact().astype(np.float32)
    got = wanted.copy()
    got[0, 0] = bad
    found = off(layer(step=0.0), got, wanted, quantized=True)
    assert found.wrong
    assert found.unit == 0


def test_a_float_program_is_held_to_a_thousandth_of_its_range() -> None:
    wanted = exact().astype(np.float32)
    assert not off(layer(step=0.0), wanted * 1.0001, wanted, quantized=False).wrong
    assert off(layer(step=0.0), wanted * 1.01, wanted, quantized=False).wrong


def test_the_first_wrong_layer_is_named_and_what_is_not_shown_is_not_judged() -> None:
    specs = tuple(layer(name) for name in "abcd")
    floats = tuple((exact() * 0.1).astype(np.float32) for _ in specs)
    rows = layer_rows(Layers(specs, floats, (exact(),) * 4, True), [exact(), None, exact(9), exact(8)])
    assert [None if row.format is None else row.format.wrong for row in rows] == [False, None, True, True]
    assert first_wrong(rows) == rows[2]
    assert first_wrong(rows[:2]) is None
