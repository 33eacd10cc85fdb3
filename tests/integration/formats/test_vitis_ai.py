"""What is written for Vitis AI is what a DPU computes with: powers of two, whole numbers alone. No DPU runs here."""

import math
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from nets import net, noise
from torch import nn

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Quantize, Ranges
from edgekit.core.target import Numerics
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.dpu.integers import evaluate
from edgekit.formats.vitis_ai import FORMAT
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program

TARGET = get_target("vitis_ai-dpuczdx8g-b4096")


def xint8(model: Model, calibration: Samples) -> Program:
    return quantize(model, Quantize(), TARGET.numerics, calibration)


@cache
def program_of(name: str, ranges: Ranges = "minmax") -> Program:
    step = Quantize(ranges=ranges, rounding="gptq" if ranges == "percentile" else "nearest")
    return quantize(net(name, seed=1), step, TARGET.numerics, noise(32))


def captured(module: nn.Module, *shape: int) -> tuple[Model, Samples]:
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    return capture(module, (torch.randn(1, *shape),), "m"), Samples((draw.standard_normal((16, *shape)).astype("f4"),))


@pytest.mark.parametrize(("name", "ranges"), [("residual", "minmax"), ("mobile", "mse"), ("concat", "percentile")])
def test_integers_alone_give_what_onnxruntime_and_the_reference_give_bit_for_bit(
    name: str, ranges: Ranges, tmp_path: Path
) -> None:
    program = program_of(name, ranges)
    path = FORMAT.lower(program, TARGET, tmp_path)
    inputs = noise(64, seed=1).inputs
    whole = evaluate(path, inputs)[0]
    assert np.array_equal(whole, FORMAT.run(path, inputs)[0])
    assert np.array_equal(whole, reference_outputs(program, inputs)[0])
    assert len(np.unique(whole)) > 20


@pytest.mark.parametrize(("name", "ranges"), [("residual", "minmax"), ("mobile", "mse"), ("concat", "percentile")])
def test_every_scale_is_a_power_of_two_every_zero_point_0_and_every_bias_int8(
    name: str, ranges: Ranges, tmp_path: Path
) -> None:
    model = onnx.load(FORMAT.lower(program_of(name, ranges), TARGET, tmp_path))
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 17
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert math.frexp(float(held[node.input[1]]))[0] == 0.5
            assert held[node.input[2]] == 0
        if node.op_type in ("Conv", "Gemm"):
            for constant in node.input[1:]:
                assert held[made[constant].input[0]].dtype == np.int8


def test_a_dpu_rounds_a_half_up_and_that_moves_outputs_by_a_few_steps(tmp_path: Path) -> None:
    program = program_of("residual")
    path = FORMAT.lower(program, TARGET, tmp_path)
    inputs, step = noise(64, seed=1).inputs, output_steps(program)[0]
    assert step is not None
    apart = (evaluate(path, inputs, arithmetic="dpu")[0] - evaluate(path, inputs)[0]) / step
    assert 0 < np.abs(apart).max() <= 4


def test_a_float_layer_has_no_arithmetic_of_integers(tmp_path: Path) -> None:
    program = program_of("residual")
    [path] = FORMAT.mixes(program, [program.int8 - {"head"}], TARGET, tmp_path)
    with pytest.raises(ArtifactError, match=r"model.onnx: node .*, Gemm: not of integers"):
        evaluate(path, noise(4).inputs)


class Wide(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.wide = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 17, padding=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.wide(torch.relu(self.first(x))))


def test_a_layer_that_no_dpu_runs_is_named_with_the_rule_and_the_rewrite(tmp_path: Path) -> None:
    program = xint8(*captured(Wide(), 1, 24, 24))
    with pytest.raises(
        ConvertError, match=r"^model m, wide: kernel 17x17, a DPU has at most 16x16: use smaller .*fp32"
    ):
        FORMAT.lower(program, TARGET, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_may_leave_that_layer_to_the_processor(tmp_path: Path) -> None:
    program = xint8(*captured(Wide(), 1, 24, 24))
    [path] = FORMAT.mixes(program, [frozenset(("first",))], TARGET, tmp_path)
    part = mixed(program, frozenset(("first",)))
    inputs = captured(Wide(), 1, 24, 24)[1].inputs
    wanted = reference_outputs(part, inputs)[0]
    assert np.abs(FORMAT.run(path, inputs)[0] - wanted).max() < 1e-4 * np.abs(wanted).max()


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(x)))


class Tailed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.first(x).mean((2, 3)), 1)


def test_an_op_of_the_processor_between_two_of_the_dpu_is_refused_and_behind_the_last_is_not(tmp_path: Path) -> None:
    line = r"norm \(GroupNorm\), test_vitis_ai.py:\d+ in forward: `.*`"
    with pytest.raises(ConvertError, match=rf"^model m, {line}: op .*, a DPU has no engine for it"):
        FORMAT.lower(xint8(*captured(Normed(), 1, 12, 12)), TARGET, tmp_path)
    assert FORMAT.lower(xint8(*captured(Tailed(), 1, 12, 12)), TARGET, tmp_path).is_file()


class Waves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 8, 3), nn.Conv1d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x)))


def test_a_net_of_which_a_dpu_runs_nothing_is_refused_by_its_first_layer(tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match=r"^model m, first: op Conv of 1 dimension\(s\), a DPU has no engine for it"):
        FORMAT.lower(xint8(*captured(Waves(), 1, 32)), TARGET, tmp_path)


class Grown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.up, self.last = nn.Conv2d(1, 8, 3), nn.ConvTranspose2d(8, 8, 2, 2), nn.Conv2d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.up(torch.relu(self.first(x)))))


def test_a_layer_that_stays_float_in_every_program_is_no_choice_of_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        ConvertError, match=r"^model m, up: float layer ConvTranspose, a DPU has int8 alone: write it as"
    ):
        FORMAT.lower(xint8(*captured(Grown(), 1, 12, 12)), TARGET, tmp_path)


def test_numerics_that_no_dpu_has_are_refused() -> None:
    odd = Numerics(precisions=("int8",), activations="int8-affine", weights="int8-per-channel", scales="power-of-two")
    with pytest.raises(TargetError, match=r"powers of two go with int8-symmetric .* int8-affine and int8-per-channel"):
        quantize(net("residual"), Quantize(), odd, noise(8))


def test_a_bias_far_larger_than_the_sums_keeps_the_file_exact(tmp_path: Path) -> None:
    module = Tailed()
    with torch.no_grad():
        module.first.bias.copy_(torch.linspace(-300, 500, 8))  # type: ignore[union-attr]
    model, samples = captured(module, 1, 12, 12)
    program = xint8(model, samples)
    assert FORMAT.lower(program, TARGET, tmp_path).is_file()
