"""The rules that make one program exact in every format: what is quantized, on which grid, and what is left alone."""

import numpy as np
import pytest
import torch
from nets import AFFINE, NETS, net, noise
from torch import nn
from torch.nn import functional as F
from zoo import ZOO, images, seen

from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, mixed, parameter_of, quantized_layers
from edgekit.core.recipe import Quantize
from edgekit.core.target import Numerics
from edgekit.errors import ConvertError
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, run

SYMMETRIC = Numerics(precisions=("fp32", "int8"), activations="int8-symmetric", weights="int8-per-channel")


def layers_of(program: Program) -> dict[str, object]:
    return {
        layer.node.name: layer for layer in quantized_layers(program.exported.graph, parameter_of(program.exported))
    }


def grids(program: Program, target: object) -> list[tuple[object, object]]:
    """(grid of the first input, grid of the output) for every call of `target`."""
    found = []
    for node in program.exported.graph.nodes:
        if node.target is target:
            first = node.args[0][0] if isinstance(node.args[0], list | tuple) else node.args[0]
            behind = next(user for user in node.users if user.target in QUANTIZES)
            found.append((first.args[1:3], behind.args[1:3]))
    return found


@pytest.mark.parametrize("name", NETS)
def test_every_bias_is_a_multiple_of_its_input_scale_times_its_weight_scale(name: str) -> None:
    program = quantize(net(name), Quantize(), AFFINE, noise(16))
    state, names = program.exported.state_dict, parameter_of(program.exported)
    checked = 0
    for layer in quantized_layers(program.exported.graph, names):
        if layer.bias is None:
            continue
        x, w = layer.node.args[:2]
        step = float(x.args[1]) * state_of(program, names(w.args[1])).double()
        steps = state[layer.bias].double() / step
        assert torch.allclose(steps, steps.round(), atol=1e-3 * max(1.0, float(steps.abs().max()) * 1e-3))
        assert np.abs(program.floats[layer.bias] - state[layer.bias].numpy()).max() <= float(step.max()) * 0.51
        checked += 1
    assert checked == len(program.layers)


def state_of(program: Program, name: str | None) -> torch.Tensor:
    return {**program.exported.state_dict, **program.exported.constants, **dict(program.exported.named_buffers())}[name]


@pytest.mark.parametrize("name", NETS)
def test_a_convolution_with_its_activation_is_one_unit(name: str) -> None:
    program = quantize(net(name), Quantize(), AFFINE, noise(8))
    for node in program.exported.graph.nodes:
        if str(node.target).startswith(("aten.relu", "aten.hardtanh")):
            assert node.args[0].target not in DEQUANTIZES
            assert all(user.target in QUANTIZES for user in node.users)


def test_values_that_only_move_keep_one_scale_and_a_concatenation_has_one_for_all() -> None:
    program = quantize(net("concat"), Quantize(), AFFINE, noise(8))
    aten = torch.ops.aten
    moved = [pair for op in (aten.max_pool2d.default, aten.flatten.using_ints) for pair in grids(program, op)]
    assert len(moved) == 3
    assert all(before == after for before, after in moved)
    cat = next(n for n in program.exported.graph.nodes if n.target is aten.cat.default)
    assert len({dequantize.args[1:3] for dequantize in cat.args[0]}) == 1


def test_softmax_and_sigmoid_have_the_scale_that_integer_kernels_write_with() -> None:
    for name in ("Attention", "Squeeze"):
        program = quantize(seen(name), Quantize(), AFFINE, images(4))
        fixed = [
            n for n in program.exported.graph.nodes if str(n.target) in ("aten.softmax.int", "aten.sigmoid.default")
        ]
        assert fixed
        for node in fixed:
            (behind,) = node.users
            assert behind.args[1:3] == (1 / 256, -128)
            for dequantize in behind.users:
                assert dequantize.args[1:3] == (1 / 256, -128)
                for user in dequantize.users:
                    assert not any(next_.target in QUANTIZES for next_ in user.users if user.target in QUANTIZES)


def test_scalar_constants_are_left_alone() -> None:
    program = quantize(seen("Attention"), Quantize(), AFFINE, images(4))
    (scaled,) = (n for n in program.exported.graph.nodes if str(n.target) == "aten.mul.Tensor")
    assert isinstance(scaled.args[1], float)


def test_symmetric_activations_use_the_whole_of_int8_around_zero() -> None:
    program = quantize(net("residual"), Quantize(), SYMMETRIC, noise(16))
    calls = [n for n in program.exported.graph.nodes if "per_tensor" in str(n.target)]
    assert {n.args[2:5] for n in calls} == {(0, -128, 127)}


def test_weights_are_per_channel_from_minus_127() -> None:
    program = quantize(net("residual"), Quantize(), AFFINE, noise(4))
    calls = [n for n in program.exported.graph.nodes if "per_channel" in str(n.target)]
    assert {n.args[3:6] for n in calls} == {(0, -127, 127)}


@pytest.mark.parametrize("name", [*NETS, "Padded"])
def test_quantizing_leaves_the_model_as_it_was(name: str) -> None:
    model = seen(name) if name in ZOO else net(name)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    quantize(model, Quantize(), AFFINE, images(4) if name in ZOO else noise(4))
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())


def test_a_layer_that_is_called_twice_has_a_bias_for_each_of_its_scales() -> None:
    program = quantize(seen("Padded"), Quantize(), AFFINE, images(8))
    twice = [layer for layer in layers_of(program).values() if layer.name == "c"]  # type: ignore[attr-defined]
    assert len({layer.bias for layer in twice}) == 2  # type: ignore[attr-defined]
    assert program.layers == ("a", "b", "c", "fc")


class InPlace(nn.Module):
    """A ReLU that changes a tensor which is read again later."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        y = self.b(F.relu_(x))
        return x + y


def in_place() -> Model:
    torch.manual_seed(0)
    return capture(InPlace(), (torch.randn(1, 1, 16, 16),), "in_place")


def test_who_reads_a_tensor_after_an_op_in_place_reads_what_that_op_left() -> None:
    model, inputs = in_place(), noise(8, seed=1).inputs
    program = quantize(model, Quantize(), AFFINE, noise(32))
    step = output_steps(program)[0]
    assert step is not None
    with torch.no_grad():
        wanted = model.module(torch.from_numpy(inputs[0])).numpy()
    assert np.mean((reference_outputs(program, inputs)[0] - wanted) ** 2) < step**2


def test_torch_and_the_reference_differ_by_a_step_at_most_and_only_on_ties() -> None:
    program, inputs = quantize(net("residual"), Quantize(), AFFINE, noise(32)), noise(32, seed=1).inputs
    step = output_steps(program)[0]
    torchs = np.concatenate([run(program, (sample[None],))[0] for sample in inputs[0]])
    steps = np.rint((torchs - reference_outputs(program, inputs)[0]) / step)
    assert np.abs(steps).max() <= 1
    assert np.mean(steps != 0) < 0.05


def test_a_mix_gives_float_layers_their_float_weights_and_biases_back() -> None:
    full = quantize(net("residual"), Quantize(rounding="gptq"), AFFINE, noise(16))
    part = mixed(full, full.int8 - {"head", "c.0"})
    gone = {"head.weight", "head.bias", "c.0.weight", "c.0.weight_bias"}
    for name in gone:
        assert np.array_equal(part.exported.state_dict[name].numpy(), full.floats[name])
        assert not np.array_equal(full.exported.state_dict[name].numpy(), full.floats[name])
    assert set(part.floats) == set(full.floats) - gone


def test_a_float_layer_cannot_become_int8_in_a_mix() -> None:
    part = quantize(net("mobile"), Quantize(layers=(("head", "fp32"),)), AFFINE, noise(4))
    with pytest.raises(ConvertError, match="layer head is float"):
        mixed(part, frozenset({"head"}))
