"""How ranges are taken: what each way finds, that it streams, and that its memory does not grow."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.compress.observers import EPSILON, activation_spec, weight_spec
from edgekit.core.recipe import Ranges


def observe(ranges: Ranges, *parts: torch.Tensor, powers: bool = False) -> tuple[float, int]:
    spec = activation_spec(*(("int8-symmetric", ranges, "power-of-two") if powers else ("int8-affine", ranges)))
    observer = spec.observer_or_fake_quant_ctr.with_args(
        dtype=spec.dtype, quant_min=spec.quant_min, quant_max=spec.quant_max, qscheme=spec.qscheme
    )()
    for part in parts:
        observer(part)
    scale, zero = observer.calculate_qparams()
    return float(scale), int(zero)


def error(values: torch.Tensor, scale: float, zero: int) -> float:
    steps = torch.clamp(torch.round(values / scale) + zero, -128, 127)
    return float(torch.mean(((steps - zero) * scale - values) ** 2))


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_minmax_loses_at_most_half_a_step_of_what_it_saw(values: list[float], spread: float) -> None:
    tensor = torch.tensor(values) * spread
    scale, zero = observe("minmax", tensor)
    steps = torch.clamp(torch.round(tensor / scale) + zero, -128, 127)
    assert float(((steps - zero) * scale - tensor).abs().max()) <= scale * 0.5001 + 0.51 * scale
    assert scale >= EPSILON


def test_an_outlier_stretches_minmax_and_not_the_percentile() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(40_000) for _ in range(5)]
    parts[2][0] = 1000.0
    assert observe("minmax", *parts)[0] > 3.9
    assert observe("percentile", *parts)[0] < 0.06


@pytest.mark.parametrize("ranges", ["percentile", "mse"])
def test_leaving_out_a_thin_tail_lowers_the_squared_error(ranges: Ranges) -> None:
    torch.manual_seed(0)
    values = torch.randn(200_000)
    values[:4] = torch.tensor([12.0, -12.0, 11.0, -11.0])
    found, plain = observe(ranges, *values.split(20_000)), observe("minmax", values)
    assert error(values[4:], *found) < error(values[4:], *plain)


def test_mse_is_at_most_the_error_of_minmax() -> None:
    torch.manual_seed(1)
    for values in (torch.randn(50_000), torch.relu(torch.randn(50_000)), torch.randn(50_000) ** 3):
        parts = values.split(5_000)
        assert error(values, *observe("mse", *parts)) <= error(values, *observe("minmax", *parts)) * 1.01


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse"])
def test_memory_does_not_grow_with_what_is_seen(ranges: Ranges) -> None:
    spec = activation_spec("int8-affine", ranges)
    observer = spec.observer_or_fake_quant_ctr.with_args(
        dtype=spec.dtype, quant_min=spec.quant_min, quant_max=spec.quant_max, qscheme=spec.qscheme
    )()
    sizes = []
    for seed in range(20):
        observer(torch.randn(10_000, generator=torch.Generator().manual_seed(seed)) * (seed + 1))
        sizes.append(sum(b.numel() for b in observer.buffers()))
    assert len(set(sizes[1:])) == 1
    assert sizes[-1] <= 8200


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse"])
def test_zero_is_always_a_step(ranges: Ranges) -> None:
    torch.manual_seed(0)
    scale, zero = observe(ranges, torch.rand(1000) + 5)
    assert -128 <= zero <= 127
    assert scale == pytest.approx(6 / 255, rel=0.02)


def test_weights_are_symmetric_in_seven_or_eight_bits_per_channel_or_tensor() -> None:
    specs = (weight_spec(per_channel=True, reduced=False), weight_spec(per_channel=False, reduced=True))
    assert [(s.quant_min, s.quant_max, s.ch_axis) for s in specs] == [
        (-127, 127, 0),
        (-63, 63, None),
    ]


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50), st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_the_power_of_minmax_is_the_least_that_holds_all(values: list[float], spread: float) -> None:
    tensor = torch.tensor(values) * spread
    scale, zero = observe("minmax", tensor, powers=True)
    assert zero == 0
    assert math.frexp(scale)[0] == 0.5
    most = float(tensor.abs().max())
    assert most <= 127.5 * scale * 1.0001
    assert scale == EPSILON or most > 127.5 * scale / 2 * 0.9999


def test_the_power_of_mse_has_at_most_the_error_of_its_neighbours() -> None:
    torch.manual_seed(2)
    outlier = torch.randn(50_000)
    outlier[0] = 40.0
    for values in (torch.randn(50_000), torch.relu(torch.randn(50_000)), torch.randn(50_000) ** 3, outlier):
        scale, zero = observe("mse", *values.split(5_000), powers=True)
        assert (zero, math.frexp(scale)[0]) == (0, 0.5)
        found = error(values, scale, 0)
        assert found <= 1.01 * min(error(values, scale * 2, 0), error(values, scale / 2, 0))
    assert scale < observe("minmax", outlier, powers=True)[0]


def test_a_weight_has_the_power_with_the_least_error() -> None:
    torch.manual_seed(3)
    weight = torch.randn(64, 64)
    weight[0, 0] = 9.0
    spec = weight_spec(per_channel=False, reduced=False, scales="power-of-two")
    observer = spec.observer_or_fake_quant_ctr.with_args(
        dtype=spec.dtype, quant_min=spec.quant_min, quant_max=spec.quant_max, qscheme=spec.qscheme
    )()
    observer(weight)
    scale = float(observer.calculate_qparams()[0])
    errors = {power: float(((weight / power).round().clamp(-127, 127) * power - weight).square().sum())
              for power in (2.0**-i for i in range(12))}  # fmt: skip
    assert scale == min(errors, key=lambda power: errors[power])
