"""Every precision in an ONNX file: stored as it should be, computed as the host's program, run by the fast ops."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from nets import net, noise
from torch import nn
from zoo import images, seen

from edgekit.bench.check import check_on_host
from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Precision, Quantize
from edgekit.formats.onnx import FORMAT
from edgekit.formats.pack import package
from edgekit.formats.verify import verify
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export
from edgekit.store.artifacts import content_id
from edgekit.store.files import sha256_of

X86, ARM = get_target("onnx-x86_64"), get_target("onnx-aarch64")
STORED: dict[Precision, set[int]] = {
    "fp16": {onnx.TensorProto.FLOAT16},
    "int8-dynamic": {onnx.TensorProto.INT8, onnx.TensorProto.UINT8},
    "int8-weights": {onnx.TensorProto.INT8},
    "int4-weights": {onnx.TensorProto.UINT8},
}
"""The types of the weights in a file."""
ALL: tuple[tuple[str, Precision], ...] = (
    ("stem.0", "int4-weights"), ("a.0", "int8"), ("b.0", "int8"), ("c.0", "int8-dynamic"), ("d.0", "int8-weights"),
    ("down.0", "fp16"), ("head", "int8"),
)  # fmt: skip


def made(model: Model, precision: Precision = "fp32", **step: object) -> Program:
    calibration = images(8) if model.spec.name == "Attention" else noise(16)
    return quantize(model, Quantize(default=precision, **step), X86.numerics, calibration)  # type: ignore[arg-type]


def compiled(path: Path, folder: Path) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "compiled.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "compiled.onnx").graph.node)


def off(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("precision", STORED)
@pytest.mark.parametrize("name", ["residual", "mobile"])
def test_a_file_computes_what_the_program_does_of_weights_stored_small(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    program, inputs = made(net(name), precision), noise(8, seed=1).inputs
    path = FORMAT.lower(program, X86, tmp_path)
    wanted = reference_outputs(program, inputs)[0]
    assert off(FORMAT.run(path, inputs)[0], wanted) < (1e-3 if precision == "fp16" else 1e-5)
    weights = [t for t in onnx.load(path).graph.initializer if np.prod(t.dims) >= 256]
    assert {t.data_type for t in weights} == STORED[precision]


@pytest.mark.parametrize("precision", ["int8-weights", "int4-weights"])
def test_weights_stored_small_cost_convolutions_no_time(precision: Precision, tmp_path: Path) -> None:
    model = net("concat")
    wanted = compiled(FORMAT.lower(export(model), X86, tmp_path / "float"), tmp_path)
    got = compiled(FORMAT.lower(made(model, precision), X86, tmp_path), tmp_path)
    linear = {"MatMulNBits": got.pop("MatMulNBits")} if precision == "int4-weights" else {"Gemm": got.pop("Gemm")}
    assert list(linear.values()) == [wanted.pop("Gemm")]
    assert got == wanted


def test_a_transformer_s_dynamic_layers_are_one_integer_op_each(tmp_path: Path) -> None:
    program = made(seen("Attention"), "int8-dynamic")
    ops = compiled(FORMAT.lower(program, X86, tmp_path), tmp_path)
    assert ops["DynamicQuantizeMatMul"] + ops["MatMulIntegerToFloat"] == len(program.layers) - 1 == 7
    assert ops["ConvInteger"] == 1
    assert not {"Gemm", "Conv"} & set(ops)


def test_a_depthwise_convolution_of_measured_values_is_run_in_float(tmp_path: Path) -> None:
    ops = compiled(FORMAT.lower(made(net("mobile"), "int8-dynamic"), X86, tmp_path), tmp_path)
    assert (ops["ConvInteger"], ops["Conv"]) == (3, 1)


class Wide(nn.Module):
    """A linear layer whose inputs fall into groups, one over tokens, and one of a size that no group divides."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(96, 64), nn.Linear(64, 50, bias=False), nn.Linear(50, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)))).mean(1))


def test_four_bits_for_each_group_of_inputs_are_kept_in_four_bits_by_the_runtime(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Wide(), (torch.randn(1, 5, 96),), "wide")
    inputs = (np.random.default_rng(1).standard_normal((8, 5, 96)).astype(np.float32),)
    program = quantize(model, Quantize(default="int4-weights"), X86.numerics, noise(4))
    path = FORMAT.lower(program, X86, tmp_path)
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "MatMulNBits"]
    sizes = [{a.name: a.i for a in node.attribute}["block_size"] for node in nodes]
    assert sizes == [32, 32, 32]
    assert compiled(path, tmp_path)["MatMulNBits"] == 3
    assert off(FORMAT.run(path, inputs)[0], reference_outputs(program, inputs)[0]) < 1e-5


@pytest.mark.parametrize("target", [X86, ARM], ids=lambda t: t.name)
def test_precisions_side_by_side_in_one_file(target: object, tmp_path: Path) -> None:
    program, inputs = made(net("residual"), layers=ALL), noise(16, seed=1).inputs
    path = FORMAT.lower(program, target, tmp_path)  # type: ignore[arg-type]
    wanted = reference_outputs(program, inputs)[0]
    assert off(FORMAT.run(path, inputs)[0], wanted) < 0.01
    if target is X86:
        ops = compiled(path, tmp_path)
        assert (ops["QLinearConv"], ops["QGemm"], ops["ConvInteger"], ops["Conv"]) == (2, 1, 1, 3)


def test_a_mix_of_a_file_leaves_its_other_precisions(tmp_path: Path) -> None:
    full, inputs = made(net("residual"), layers=ALL), noise(8, seed=1).inputs
    sets = [frozenset({"a.0"}), frozenset[str]()]
    for some, path in zip(sets, FORMAT.mixes(full, sets, X86, tmp_path), strict=True):
        wanted = reference_outputs(mixed(full, some), inputs)[0]
        assert off(FORMAT.run(path, inputs)[0], wanted) < 0.01
        assert compiled(path, tmp_path)["QLinearConv"] == len(some)


@pytest.mark.parametrize("precision", STORED)
def test_an_artifact_of_any_precision_is_verified_and_its_layers_are_checked(
    precision: Precision, tmp_path: Path
) -> None:
    program = made(net("residual"), precision)
    folder = tmp_path / "packed"
    artifact = package(program, X86, FORMAT.lower(program, X86, tmp_path), folder=folder, key="k", name="net")
    verdict = verify(artifact, folder)
    assert verdict.in_steps == (False,)
    found = check_on_host(artifact, folder)
    assert found.is_right
    layers = [row for row in found.rows if row.precision is not None]
    assert [(row.layer, row.precision) for row in layers] == [(layer, precision) for layer in program.layers]
    assert all(row.format is not None and not row.quantized for row in layers)


def test_a_file_whose_dynamic_weight_is_changed_is_not_right(tmp_path: Path) -> None:
    program, folder = made(net("residual"), "int8-dynamic"), tmp_path / "packed"
    path = FORMAT.lower(program, X86, tmp_path)
    artifact = package(program, X86, path, folder=folder, key="k", name="net")
    model = onnx.load(folder / "model.onnx")
    weight = next(t for t in model.graph.initializer if list(t.dims) == [32, 16, 3, 3])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[5] = 128
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / "model.onnx")
    files = tuple(msgspec.structs.replace(e, sha256=sha256_of(folder / e.path)) for e in artifact.files)
    changed = msgspec.structs.replace(artifact, id=content_id(files), files=files)
    assert check_on_host(changed, folder).layer == "c.0"
