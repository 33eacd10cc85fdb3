"""What is written for TensorRT is what its parser takes, and computes what the host's program does. No engine runs."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from nets import NETS, net, noise
from torch import nn

from edgekit.catalog.targets import get_target, targets
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.core.recipe import Quantize
from edgekit.core.target import Limits, Target
from edgekit.errors import ConvertError, TargetError
from edgekit.formats.onnx import NEWEST_OPSET
from edgekit.formats.tensorrt import FORMAT
from edgekit.formats.tensorrt_ops import lacks
from edgekit.models.model import capture
from edgekit.models.program import export

TARGETS = [target for target in targets() if target.format == "tensorrt"]
HERE = Path(__file__).name
SAME = 0.99
"""onnxruntime runs the layer before a symmetric quantize in float, and sums in another order than the reference."""


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, TARGETS[0]) for name in NETS), *(("mobile", target) for target in TARGETS[1:])],
    ids=lambda value: getattr(value, "name", value),
)
def test_int8_has_no_zero_point_and_only_ops_of_its_version(name: str, target: Target, tmp_path: Path) -> None:
    program = quantize(net(name), Quantize(), target.numerics, noise(32))
    path = FORMAT.lower(program, target, tmp_path)
    model = onnx.load(path)
    assert model.opset_import[0].version == min(target.limits.opset or 20, NEWEST_OPSET)
    version = dict(target.requires)["tensorrt"]
    assert [why for node in model.graph.node if (why := lacks(node.op_type, version))] == []
    zeros = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    quantized = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantized) > len(program.layers)
    for node in quantized:
        assert zeros[node.input[2]].dtype == np.int8, "a bias stays float"
        assert not zeros[node.input[2]].any()
    inputs = noise(64, seed=1).inputs
    reference, step = reference_outputs(program, inputs)[0], output_steps(program)[0]
    assert step is not None
    off = np.abs(np.rint((FORMAT.run(path, inputs)[0] - reference) / step))
    assert off.max() <= 1
    assert np.mean(off == 0) >= SAME


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(16, 32), nn.LayerNorm(32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.first(x))


def test_an_op_that_a_version_does_not_have_is_named_with_the_first_that_has(tmp_path: Path) -> None:
    program = export(capture(Normed(), (torch.randn(2, 16),), "normed"))
    with pytest.raises(ConvertError, match=rf"normed, norm \(LayerNorm\), {HERE}:\d+ in forward: .* has no LayerN"):
        FORMAT.lower(program, get_target("tensorrt-jetson-orin-8.5"), tmp_path)
    assert FORMAT.lower(program, get_target("tensorrt-jetson-orin-8.6"), tmp_path).is_file()


NEW = get_target("tensorrt-jetson-orin")
OLDEST = msgspec.structs.replace(NEW, limits=Limits(opset=13), requires=(("tensorrt", "8.2"),))
"""A Jetson Nano's, which edgekit has no target for: the lowest ceiling that there is."""


@pytest.mark.parametrize(("name", "old"), [("residual", OLDEST), ("concat", get_target("tensorrt-jetson-orin-8.5"))])
def test_what_is_written_for_an_old_parser_computes_the_same_bits(name: str, old: Target, tmp_path: Path) -> None:
    program = quantize(net(name), Quantize(), NEW.numerics, noise(32))
    new_path, old_path = FORMAT.lower(program, NEW, tmp_path / "new"), FORMAT.lower(program, old, tmp_path / "old")
    opsets = [onnx.load(path).opset_import[0].version for path in (new_path, old_path)]
    assert opsets == [NEWEST_OPSET, old.limits.opset]
    inputs = noise(16, seed=2).inputs
    for new, same in zip(FORMAT.run(new_path, inputs), FORMAT.run(old_path, inputs), strict=True):
        np.testing.assert_array_equal(new, same)


class Sampled(nn.Module):
    def forward(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return nn.functional.grid_sample(x, grid, align_corners=False)


def test_an_op_above_the_ceiling_of_an_old_parser_is_refused_by_name(tmp_path: Path) -> None:
    model = capture(Sampled(), (torch.randn(1, 1, 8, 8), torch.randn(1, 8, 8, 2)), "sampled")
    with pytest.raises(
        TargetError, match=rf"^{HERE}:\d+ in forward: `.*`: op GridSample cannot be written in opset 13"
    ):
        FORMAT.lower(export(model), OLDEST, tmp_path)
