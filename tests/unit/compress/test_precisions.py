"""Layers of every precision: what is stored, on which grid, and what a mix leaves alone."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net, noise
from zoo import images, seen

from edgekit.compress.dynamic import CHOOSES, MEASURES
from edgekit.compress.half import CASTS
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs, reference_values
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, in_float, mixed
from edgekit.compress.weights import Grid, groups_of, weight_grid
from edgekit.core.recipe import NAMED, Precision, Quantize
from edgekit.core.target import Numerics
from edgekit.errors import ModelError, TargetError
from edgekit.models.program import Program, export, run

EVERY = Numerics(precisions=get_args(Precision), activations="uint8-affine", weights="int8-per-channel")
REDUCED: tuple[Precision, ...] = ("fp16", "bf16", "int16", "int8", "int8-dynamic", "int8-weights", "int4-weights")
MIXED: tuple[tuple[str, Precision], ...] = (
    ("stem.0", "int4-weights"), ("a.0", "int16"), ("b.0", "int8"), ("c.0", "int8-dynamic"), ("d.0", "int8"),
    ("down.0", "fp16"), ("head", "int8-weights"),
)  # fmt: skip


def made(name: str, **step: object) -> Program:
    return quantize(net(name), Quantize(**step), EVERY, noise(16))  # type: ignore[arg-type]


def ratio_db(wanted: np.ndarray, got: np.ndarray) -> float:
    error = np.sum((wanted - got) ** 2)
    return float(10 * np.log10(np.sum(wanted**2) / error)) if error else float("inf")


def calls(program: Program, *targets: object) -> list[torch.fx.Node]:
    return [node for node in program.exported.graph.nodes if node.target in targets]


def on_grid(weight: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The steps of a weight, row by row."""
    rows = weight.double().reshape(len(grid.scales), -1)
    return (rows / grid.scales[:, None]).round().clamp(grid.low, grid.high)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.sampled_from((4, 48, 64)), st.floats(1e-4, 1e4), st.integers(0, 1000))
def test_a_stored_weight_is_at_most_half_a_step_off_where_its_range_is_not_clipped(
    outputs: int, inputs: int, size: float, seed: int
) -> None:
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed)) * size
    for precision in ("int8-weights", "int8-dynamic", "int4-weights"):
        grid = weight_grid(weight, precision, group=32)
        steps = on_grid(weight, grid)
        error = (steps * grid.scales[:, None] - weight.double().reshape(steps.shape)).abs()
        inside = (steps > grid.low) & (steps < grid.high)
        assert bool((error <= grid.scales[:, None] * 0.5000001)[inside].all())
        assert precision == "int4-weights" or bool((error <= grid.scales[:, None] * 0.5000001).all())


def test_four_bits_have_sixteen_steps_and_a_scale_for_each_group_of_inputs() -> None:
    weight = torch.randn(8, 64, 3, 3, generator=torch.Generator().manual_seed(0))
    grid = weight_grid(weight, "int4-weights", group=32)
    assert (len(grid.scales), grid.low, grid.high) == (16, -8, 7)
    assert len(weight_grid(weight, "int4-weights", group=48).scales) == 8
    assert groups_of(weight, 16) == 4
    whole = Grid(weight.reshape(16, -1).abs().amax(dim=1).double() / 7, -8, 7)
    errors = [(on_grid(weight, g) * g.scales[:, None] - weight.reshape(16, -1)).square().sum() for g in (grid, whole)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("precision", REDUCED)
def test_a_net_of_any_precision_stays_near_the_float_one_and_knows_it(precision: Precision) -> None:
    model, inputs = net("residual"), noise(8, seed=1).inputs
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    program = quantize(model, Quantize(default=precision), EVERY, noise(16))
    wanted = reference_outputs(export(model), inputs)[0]
    assert ratio_db(wanted, reference_outputs(program, inputs)[0]) > (20 if precision == "int4-weights" else 40)
    assert program.precisions == dict.fromkeys(program.layers, precision)
    assert program.int8 == (set(program.layers) if precision == "int8" else set())
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    with torch.no_grad():
        floats = np.concatenate([in_float(program)(torch.from_numpy(x[None])).numpy() for x in inputs[0]])
    assert ratio_db(wanted, floats) > 100


@pytest.mark.parametrize("precision", REDUCED)
def test_torch_and_the_reference_agree(precision: Precision) -> None:
    program, inputs = made("mobile", default=precision), noise(8, seed=1).inputs
    torchs = np.concatenate([run(program, (sample[None],))[0] for sample in inputs[0]])
    assert ratio_db(reference_outputs(program, inputs)[0], torchs) > 45


def test_weights_rounded_together_lose_less_than_each_to_its_nearest() -> None:
    inputs = noise(8, seed=1).inputs
    wanted = reference_outputs(export(net("residual")), inputs)[0]
    for precision in ("int4-weights", "int8-weights", "int8-dynamic"):
        near, together = (made("residual", default=precision, rounding=r) for r in ("nearest", "gptq"))
        errors = [ratio_db(wanted, reference_outputs(program, inputs)[0]) for program in (near, together)]
        assert errors[1] > errors[0] + 3


def test_weights_alone_leave_activations_in_float() -> None:
    for precision, low in (("int8-weights", -127), ("int4-weights", -8)):
        program = made("residual", default=precision)
        assert {n.args[4] for n in calls(program, *QUANTIZES)} == {low}
        assert len(calls(program, *QUANTIZES)) == len(program.layers)
        assert not calls(program, *MEASURES, CASTS)
        assert not program.quantized


def test_values_measured_at_run_time_are_measured_once_for_all_that_take_them() -> None:
    program = made("concat", default="int8-dynamic")
    assert len({node.args[0] for node in calls(program, CHOOSES)}) == len(calls(program, CHOOSES)) == 3
    assert len(calls(program, MEASURES[2])) == len(program.layers) == 4
    assert program.quantized


def test_a_range_taken_at_run_time_that_is_the_calibrated_one_gives_the_same() -> None:
    inputs = noise(1, seed=3)
    steps = {p: quantize(net("concat"), Quantize(default="fp32", layers=(("stem", p),)), EVERY, inputs) for p in (
        "int8", "int8-dynamic",
    )}  # fmt: skip
    static, dynamic = (calls(steps[p], op)[0].name for p, op in (("int8", QUANTIZES[0]), ("int8-dynamic", MEASURES[1])))
    wanted, got = (
        reference_values(program, [name], inputs.inputs)[0]
        for program, name in zip(steps.values(), (static, dynamic), strict=True)
    )
    assert np.array_equal(wanted, got)


def test_what_lies_between_halves_is_in_half_and_sums_are_not() -> None:
    program = made("concat", default="fp16")
    cast = calls(program, CASTS)
    assert sum(node.kwargs["dtype"] is torch.float32 for node in cast) == 1
    activations = [n for n in program.exported.graph.nodes if str(n.target).startswith(("aten.relu", "aten.cat"))]
    assert activations
    assert all(node.meta["val"].dtype is torch.float16 for node in activations)
    softmax = quantize(seen("Attention"), Quantize(default="fp16"), EVERY, images(4))
    assert all(n.meta["val"].dtype is torch.float32 for n in calls(softmax, torch.ops.aten.softmax.int))


def test_int16_has_the_range_of_int8_in_finer_steps_and_one_scale_where_int8_has_one() -> None:
    narrow, wide = made("concat"), made("concat", default="int16")
    for one, other in zip(calls(narrow, QUANTIZES[0]), calls(wide, QUANTIZES[0]), strict=True):
        scale, zero = one.args[1:3]
        assert other.args[2:] == (0, -(2**15), 2**15 - 1, torch.int16)
        assert other.args[1] * 2**15 == pytest.approx(scale * max(128 + zero, 128 - zero))


def test_every_precision_goes_with_every_other_in_one_model() -> None:
    program, inputs = made("residual", default="fp32", layers=MIXED), noise(8, seed=1).inputs
    assert program.precisions == dict(MIXED)
    assert program.int8 == {"b.0", "d.0"}
    wanted = reference_outputs(export(net("residual")), inputs)[0]
    assert ratio_db(wanted, reference_outputs(program, inputs)[0]) > 25
    dtypes = {node.args[5] for node in calls(program, QUANTIZES[0])}
    assert dtypes == {torch.int8, torch.int16}
    assert all(len(node.users) == 1 for node in calls(program, DEQUANTIZES[0]))


def test_a_mix_leaves_other_precisions_as_they_are() -> None:
    full, inputs = made("residual", default="fp32", layers=MIXED), noise(8, seed=1).inputs
    part = mixed(full, frozenset({"d.0"}))
    direct = made("residual", default="fp32", layers=tuple(pair for pair in MIXED if pair[0] != "b.0"))
    assert part.precisions == direct.precisions
    assert np.array_equal(reference_outputs(part, inputs)[0], reference_outputs(direct, inputs)[0])
    assert set(mixed(full, frozenset()).precisions) == {name for name, word in MIXED if word != "int8"}


def test_a_precision_that_the_target_lacks_is_refused_in_one_line() -> None:
    with pytest.raises(TargetError, match="int4-weights was asked for, and the target holds fp32, int8"):
        quantize(net("mobile"), NAMED["int4-weights"].step[0], Numerics(precisions=("fp32", "int8")), noise(4))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no layer 'nose'"):
        made("mobile", layers=(("nose", "int8-dynamic"),))
