"""Halves and 4-bit weights in the file that TensorRT builds an engine of, each version by its rules. No engine runs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from nets import net, noise
from torch import nn

from edgekit.bench.runners.trtexec_words import EngineBuild, build_words
from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.core.recipe import Precision, Quantize
from edgekit.errors import TargetError
from edgekit.formats.pack import package
from edgekit.formats.tensorrt import FORMAT, IN_FLOAT32, precisions
from edgekit.formats.tensorrt_parser import MODULE, parser_words
from edgekit.formats.verify import verify
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture

OLD, NEW = get_target("tensorrt-jetson-orin-8.5"), get_target("tensorrt-jetson-orin")
HALVES = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
FLOATS = (onnx.TensorProto.FLOAT, *HALVES.values())
TOKENS = (np.random.default_rng(1).standard_normal((4, 5, 128)).astype(np.float32),)


class Mlp(nn.Module):
    """Linear layers over tokens, and one behind their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(128, 256), nn.Linear(256, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(nn.functional.gelu(self.a(x)))).mean(1))


def mlp() -> Model:
    torch.manual_seed(0)
    return capture(Mlp(), (torch.randn(1, 5, 128),), "mlp")


def off(path: Path, wanted: np.ndarray, inputs: tuple[np.ndarray, ...]) -> float:
    return float(np.abs(FORMAT.run(path, inputs)[0] - wanted).max() / np.abs(wanted).max())


def floats_of(path: Path) -> set[int]:
    return {t.data_type for t in onnx.load(path).graph.initializer if t.data_type in FLOATS}


@pytest.mark.parametrize("precision", HALVES)
def test_halves_are_types_of_the_file_and_computed_as_the_program_does(precision: Precision, tmp_path: Path) -> None:
    program, inputs = quantize(net("residual"), Quantize(default=precision), NEW.numerics, noise(4)), noise(4).inputs
    path = FORMAT.lower(program, NEW, tmp_path)
    assert floats_of(path) == {HALVES[precision]}
    assert off(path, reference_outputs(program, inputs)[0], inputs) < 1e-3
    build = EngineBuild(onnx="m", engine="e", timing_cache="t", precisions=precisions(path))
    assert "--stronglyTyped" in build_words("10.3", build)


def test_before_strong_typing_half_is_a_flag_and_bfloat16_and_four_bits_are_refused(tmp_path: Path) -> None:
    program = quantize(net("mobile"), Quantize(default="fp16"), OLD.numerics, noise(4))
    found = precisions(FORMAT.lower(program, OLD, tmp_path))
    assert found == ("fp16",)
    build = EngineBuild(onnx="m", engine="e", timing_cache="t", precisions=found)
    assert build_words("8.5", build)[-1] == "--fp16"
    for word in ("bf16", "int4-weights"):
        with pytest.raises(TargetError, match=f"{word} was asked for, and the target holds fp32, fp16, int8"):
            quantize(net("mobile"), Quantize(default=word), OLD.numerics, noise(4))  # type: ignore[arg-type]


def test_four_bits_are_int4_in_blocks_with_the_inputs_first(tmp_path: Path) -> None:
    program = quantize(mlp(), Quantize(default="int4-weights"), NEW.numerics, Samples(TOKENS))
    path = FORMAT.lower(program, NEW, tmp_path)
    model = onnx.load(path)
    weights = {t.name: list(t.dims) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT4}
    assert sorted(weights.values()) == [[64, 10], [128, 256], [256, 64]]
    blocks = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    attributes = [{a.name: a.i for a in node.attribute} for node in blocks]
    assert attributes == [{"axis": 0, "block_size": 64}] * 3
    assert model.opset_import[0].version == 21
    assert precisions(path) == ()
    assert off(path, reference_outputs(program, TOKENS)[0], TOKENS) < 1e-5


def test_a_layer_without_a_form_in_four_bits_is_named(tmp_path: Path) -> None:
    program = quantize(net("residual"), Quantize(default="int4-weights"), NEW.numerics, noise(4))
    with pytest.raises(TargetError, match=r"layer stem\.0: .*and it is a convolution: give it another precision"):
        FORMAT.lower(program, NEW, tmp_path)
    program = quantize(net("residual"), Quantize(default="fp32", layers=(("head", "int4-weights"),)), NEW.numerics,
                       noise(4))  # fmt: skip
    with pytest.raises(TargetError, match=r"layer head: .*groups of 64 or 128, and 32 share a scale"):
        FORMAT.lower(program, NEW, tmp_path)


def mixed_file(folder: Path) -> Path:
    step = Quantize(default="int8", layers=(("a", "int4-weights"), ("b", "fp16")))
    return FORMAT.lower(quantize(mlp(), step, NEW.numerics, Samples(TOKENS)), NEW, folder)


def test_int8_half_and_four_bits_go_in_one_file(tmp_path: Path) -> None:
    path = mixed_file(tmp_path)
    types = {t.data_type for t in onnx.load(path).graph.initializer}
    assert {onnx.TensorProto.INT4, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8} <= types
    assert precisions(path) == ("int8", "fp16")


def test_an_artifact_in_bfloat16_is_verified_and_says_how(tmp_path: Path) -> None:
    program = quantize(net("mobile"), Quantize(default="bf16"), NEW.numerics, noise(4))
    path = FORMAT.lower(program, NEW, tmp_path)
    artifact = package(program, NEW, path, folder=tmp_path / "packed", key="k", name="net")
    assert verify(artifact, tmp_path / "packed").remarks[0] == IN_FLOAT32


def test_nvidias_parser_reads_halves_and_four_bits(tmp_path: Path) -> None:
    pytest.importorskip(MODULE, reason="tensorrt-rtx is not installed: pip install 'edgekit[tensorrt-rtx]'")
    assert "parsed by TensorRT-RTX" in parser_words(mixed_file(tmp_path / "mixed"))
    for precision in HALVES:
        program = quantize(net("residual"), Quantize(default=precision), NEW.numerics, noise(4))  # type: ignore[arg-type]
        assert "parsed by TensorRT-RTX" in parser_words(FORMAT.lower(program, NEW, tmp_path / precision))
