"""The promise "one program": what onnxruntime computes is what the host's quantized program computes."""

import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from nets import AFFINE, NETS, ONNX_X86, net, noise

from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Quantize
from edgekit.core.target import Numerics
from edgekit.errors import ModelError, TargetError
from edgekit.formats.onnx import FORMAT
from edgekit.models.model import Model
from edgekit.models.program import Program, export


def int8(model: Model, **step: object) -> Program:
    return quantize(model, Quantize(**step), AFFINE, noise(32))  # type: ignore[arg-type]


def compiled(path: Path, folder: Path) -> Counter[str]:
    """The ops that onnxruntime really runs, all optimizations on."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "compiled.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "compiled.onnx").graph.node)


@pytest.mark.parametrize(("name", "seed"), itertools.product(NETS, range(2)))
def test_every_output_of_onnxruntime_is_that_of_the_reference(name: str, seed: int, tmp_path: Path) -> None:
    program = int8(net(name, seed))
    inputs = noise(64, seed=1).inputs
    got = FORMAT.run(FORMAT.lower(program, ONNX_X86, tmp_path), inputs)[0]
    step = output_steps(program)[0]
    assert step is not None
    assert np.rint((got - reference_outputs(program, inputs)[0]) / step).any() == np.False_


@pytest.mark.parametrize("name", NETS)
def test_no_int8_layer_is_run_in_float(name: str, tmp_path: Path) -> None:
    program = int8(net(name))
    ops = compiled(FORMAT.lower(program, ONNX_X86, tmp_path), tmp_path)
    assert ops["QLinearConv"] == len(program.layers) - 1
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(ops)


@pytest.mark.parametrize("name", NETS)
def test_a_mix_is_the_program_quantized_by_that_recipe(name: str) -> None:
    model = net(name)
    full = int8(model)
    draw = random.Random(name)
    inputs = noise(16, seed=2).inputs
    for _ in range(3):
        some = frozenset(draw.sample(full.layers, draw.randint(1, len(full.layers) - 1)))
        direct = int8(model, default="fp32", layers=tuple((layer, "int8") for layer in sorted(some)))
        assert direct.int8 == some
        derived = mixed(full, some)
        assert np.array_equal(reference_outputs(direct, inputs)[0], reference_outputs(derived, inputs)[0])


def test_files_of_mixes_compute_what_their_programs_do(tmp_path: Path) -> None:
    full = int8(net("residual"))
    sets = [full.int8, full.int8 - {"c.0", "head"}, frozenset[str]()]
    inputs = noise(32, seed=3).inputs
    for chosen, path in zip(sets, FORMAT.mixes(full, sets, ONNX_X86, tmp_path), strict=True):
        wanted = reference_outputs(mixed(full, chosen), inputs)[0]
        assert np.abs(FORMAT.run(path, inputs)[0] - wanted).max() < 0.02 * np.abs(wanted).max()


def test_int8_weights_are_stored_as_int8(tmp_path: Path) -> None:
    model = net("concat")
    tensors = onnx.load(FORMAT.lower(int8(model), ONNX_X86, tmp_path)).graph.initializer
    large = [t for t in tensors if np.prod(t.dims) >= 16 * 16]
    assert len(large) == 3
    assert {t.data_type for t in large} == {onnx.TensorProto.INT8}


def test_symmetric_activations_keep_their_layers_in_int8(tmp_path: Path) -> None:
    numerics = Numerics(precisions=("fp32", "int8"), activations="int8-symmetric", weights="int8-per-channel")
    program = quantize(net("residual"), Quantize(), numerics, noise(32))
    zeros = [n.args[2] for n in program.exported.graph.nodes if "quantize_per_tensor" in str(n.target)]
    assert set(zeros) == {0}


@pytest.mark.parametrize("ranges", ["minmax", "percentile", "mse"])
def test_ranges_differ_by_how_they_are_taken_and_all_stay_close_to_float(ranges: str) -> None:
    model, inputs = net("residual"), noise(32, seed=4).inputs
    wanted = reference_outputs(export(model), inputs)[0]
    error = reference_outputs(int8(model, ranges=ranges), inputs)[0] - wanted
    assert 0 < np.mean(error**2) / np.var(wanted) < 0.01


def test_weights_have_seven_bits_where_the_device_would_saturate() -> None:
    numerics = Numerics(
        precisions=("fp32", "int8"), activations="uint8-affine", weights="int8-per-channel",
        reduce_range_without=("vnni",),
    )  # fmt: skip
    bounds = {
        features: {n.args[4] for n in program.exported.graph.nodes if "quantize_per_channel" in str(n.target)}
        for features in (("avx2",), ("avx2", "vnni"))
        for program in [quantize(net("mobile"), Quantize(), numerics, noise(8), features=features)]
    }
    assert bounds == {("avx2",): {-63}, ("avx2", "vnni"): {-127}}


def test_what_cannot_be_quantized_is_told_in_one_line() -> None:
    model = net("mobile")
    with pytest.raises(ModelError, match="no layer 'nose'"):
        int8(model, layers=(("nose", "fp32"),))
    with pytest.raises(TargetError, match="int8"):
        quantize(model, Quantize(), Numerics(), noise(8))
