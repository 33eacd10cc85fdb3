"""Every precision in TFLite, alone and mixed in one file: the program's own integers, and what LiteRT makes of them."""

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from nets import net, noise
from torch import nn

from edgekit.bench.check import check_on_host
from edgekit.catalog.targets import get_target
from edgekit.compress.bare import bare
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.core.recipe import Precision, Quantize
from edgekit.core.target import Numerics, Target
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.child import run_model
from edgekit.formats.pack import package
from edgekit.formats.tflite import FORMAT, SLOW
from edgekit.formats.tflite_file import constant_of, dtype_of, kind_of, read_file, shape_of, write_file
from edgekit.formats.tflite_ops import layer_ops, read_ops
from edgekit.formats.tflite_store import unpacked, with_stored
from edgekit.formats.verify import verify
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program

TARGET = get_target("tflite-x86_64")
EVERY = tuple(word for word in get_args(Precision) if word != "bf16")
MIXED: tuple[tuple[str, Precision], ...] = (
    ("stem.0", "int4-weights"), ("a.0", "int16"), ("b.0", "int8"), ("c.0", "int8-dynamic"), ("d.0", "int8"),
    ("down.0", "fp16"), ("head", "int8-weights"),
)  # fmt: skip


class Wide(nn.Module):
    """A convolution of one place and linear layers, wide enough for blocks of 32; a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 64, 3, groups=64)
        self.point, self.head = nn.Conv2d(64, 96, 1), nn.Linear(96, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.point(torch.relu(self.depth(torch.relu(self.stem(x)))))).mean((2, 3)))


def wide() -> Model:
    torch.manual_seed(0)
    return capture(Wide().eval(), (torch.randn(1, 3, 8, 8),), "wide")


def images(count: int, seed: int = 1) -> Samples:
    return Samples((np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32),))


def ratio_db(wanted: np.ndarray, got: np.ndarray) -> float:
    error = np.sum((wanted - got) ** 2)
    return float(10 * np.log10(np.sum(wanted**2) / error)) if error else float("inf")


def weights_in(path: Path) -> dict[str, tuple[str, np.ndarray, Any]]:
    """By the layer's place in order: what its op reads, through a dequantize; type, integers, quantization."""
    model = read_file(path.read_bytes())
    graph, found = model.subgraphs[0], {}
    behind = {int(op.outputs[0]): int(op.inputs[0]) for op in graph.operators if kind_of(op, model) == "DEQUANTIZE"}
    layers = [op for op in graph.operators if kind_of(op, model) in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")]
    for i, op in enumerate(layers):
        tensor = graph.tensors[behind.get(int(op.inputs[1]), int(op.inputs[1]))]
        data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
        if dtype_of(tensor) == "INT4":
            values = unpacked(data, int(np.prod(shape_of(tensor)))).reshape(shape_of(tensor))
        else:
            values = constant_of(tensor, model)
        found[str(i)] = dtype_of(tensor), values, tensor.quantization
    return found


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    program = quantize(net("residual"), Quantize(layers=MIXED), TARGET.numerics, noise(16))
    return program, FORMAT.lower(program, TARGET, tmp_path_factory.mktemp("mixed"))


def test_seven_precisions_live_in_one_file_with_the_programs_own_integers(mixed: tuple[Program, Path]) -> None:
    program, path = mixed
    kinds = Counter(op.takes[:2] for op in layer_ops(path.read_bytes()))
    assert kinds == {
        ("FLOAT32", "FLOAT32"): 3, ("INT16", "INT8"): 1, ("INT8", "INT8"): 2, ("FLOAT32", "INT8"): 1,
    }  # fmt: skip
    found, (_, stored) = weights_in(path), bare(program)
    places = dict(zip(("stem.0", "a.0", "b.0", "c.0", "d.0", "down.0", "head"), found.values(), strict=True))
    for weight in stored:
        dtype, values, _ = places[weight.layer]
        assert dtype == ("FLOAT16" if weight.steps is None else "INT8")
        wanted = weight.values if weight.steps is None else weight.steps.reshape(weight.values.shape)
        assert np.array_equal(np.sort(values.reshape(-1)), np.sort(wanted.reshape(-1).astype(values.dtype)))


class Attends(nn.Module):
    """Queries and keys are divided behind their layers: the converter divides these layers' weights."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(64, 64) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).view(1, 8, 2, 32).transpose(1, 2) for part in (self.q, self.k, self.v))
        return nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("word", ["int8-dynamic", "int8-weights"])
def test_a_factor_that_the_converter_moves_into_a_weight_goes_into_its_scales(word: Precision, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Attends().eval(), (torch.randn(1, 8, 64),), "attends")
    samples = Samples((np.random.default_rng(0).standard_normal((8, 8, 64)).astype(np.float32),))
    program = quantize(model, Quantize(default=word), TARGET.numerics, samples)
    path = FORMAT.lower(program, TARGET, tmp_path)
    of = {weight.layer: weight for weight in bare(program)[1]}
    factors = set()
    for dtype, steps, quantization in weights_in(path).values():
        assert dtype == "INT8"
        weight = next(w for w in of.values() if np.array_equal(w.steps.reshape(w.values.shape), steps))
        factors |= set(np.unique(np.round(quantization.scale / weight.scales, 5)))
    assert factors == {np.float32(1.0), np.float32(round(32**-0.25, 5))}
    made = package(program, TARGET, path, folder=tmp_path / "a", key="k", name="n")
    verify(made, tmp_path / "a")


def test_a_mixed_file_is_verified_and_each_of_its_layers_shown_and_right(
    mixed: tuple[Program, Path], tmp_path: Path
) -> None:
    program, path = mixed
    made = package(program, TARGET, path, folder=tmp_path / "a", key="k", name="n")
    assert verify(made, tmp_path / "a").remarks == (SLOW,)
    checked = check_on_host(made, tmp_path / "a")
    assert checked.is_right
    assert checked.notes == (SLOW,)
    shown = {row.layer: row for row in checked.rows if row.format is not None}
    assert shown.keys() >= set(program.layers)


def test_no_op_is_left_of_what_holds_a_value_between_grids(mixed: tuple[Program, Path]) -> None:
    kinds = Counter(op.name for op in read_ops(mixed[1].read_bytes()))
    assert kinds["ADD"] == 2
    assert "MUL" not in kinds


@pytest.mark.slow
@pytest.mark.parametrize("precision", EVERY)
def test_a_net_of_one_precision_is_verified_layer_by_layer(precision: Precision, tmp_path: Path) -> None:
    program = quantize(wide(), Quantize(default=precision), TARGET.numerics, images(16))
    path = FORMAT.lower(program, TARGET, tmp_path / "lowered")
    made = package(program, TARGET, path, folder=tmp_path / "a", key="k", name="n")
    verify(made, tmp_path / "a")
    checked = check_on_host(made, tmp_path / "a")
    assert checked.is_right, checked.layer
    assert {row.layer for row in checked.rows if row.format is not None} >= {"stem", "depth", "point", "head"}
    inputs = images(16, seed=2).inputs
    got, wanted = run_model("tflite", path, inputs)[0], reference_outputs(program, inputs)[0]
    least = {"fp32": 110, "int8-weights": 110, "int16": 75, "fp16": 60}.get(precision, 35)
    assert ratio_db(wanted, got) > least


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    program = quantize(wide(), Quantize(default="int4-weights"), TARGET.numerics, images(16))
    return program, FORMAT.lower(program, TARGET, tmp_path_factory.mktemp("four"))


def test_four_bits_are_blocks_in_linear_layers_and_channels_in_convolutions(four_bits: tuple[Program, Path]) -> None:
    program, path = four_bits
    (_, stored), found = bare(program), weights_in(path)
    assert [op.name for op in layer_ops(path.read_bytes())] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "FULLY_CONNECTED",
    ]  # fmt: skip
    for weight, order, (dtype, values, grid) in zip(
        stored, ((0, 2, 3, 1), (1, 2, 3, 0), (0, 1), (0, 1)), found.values(), strict=True
    ):
        assert weight.steps is not None
        steps = weight.steps.reshape(weight.values.shape)
        steps = steps[:, :, 0, 0] if weight.layer == "point" else steps
        assert np.array_equal(values, steps.transpose(order))
        assert dtype == ("INT8" if weight.layer == "depth" else "INT4")
        if weight.groups == 1:
            assert np.array_equal(grid.scale, weight.scales)
        else:
            assert grid.details.blockSize == 32
    assert [weight.groups for weight in stored] == [1, 1, 2, 3]


def test_blocks_have_scales_that_every_runtime_holds_without_rounding(four_bits: tuple[Program, Path]) -> None:
    _, stored = bare(four_bits[0])
    for scales in (weight.scales for weight in stored if weight.groups > 1):
        assert scales is not None
        assert np.array_equal(scales.astype(np.float16).astype(np.float32), scales)
        assert not (scales.view(np.uint32) & 0xFFFF).any()  # as bfloat16, which XNNPACK makes of them


def test_a_block_weighs_as_much_in_litert_as_its_scale_says(four_bits: tuple[Program, Path]) -> None:
    """One value in each block, so that nothing is rounded of what comes in: the outputs are the weights."""
    program, path = four_bits
    _, stored = bare(program)
    head = next(weight for weight in stored if weight.layer == "head")
    model = read_file(path.read_bytes())
    graph = model.subgraphs[0]
    op = next(op for op in reversed(graph.operators) if kind_of(op, model) == "FULLY_CONNECTED")
    op.inputs = [*op.inputs[:2], -1]
    graph.inputs, graph.outputs, graph.operators = [op.inputs[0]], op.outputs, [op]
    model.signatureDefs = None
    alone = path.with_name("alone.tflite")
    alone.write_bytes(write_file(model))
    interpreter = Interpreter(model_path=str(alone), num_threads=1)
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    for place in (0, 33, 95):
        x = np.zeros((1, 96), np.float32)
        x[0, place] = 1.0
        interpreter.set_tensor(takes["index"], x)
        interpreter.invoke()
        assert np.allclose(interpreter.get_tensor(gives["index"])[0], head.values[:, place], rtol=1e-6)


def test_groups_that_litert_has_no_blocks_for_are_refused_by_layer(tmp_path: Path) -> None:
    numerics = Numerics(
        precisions=EVERY, activations="int8-affine", weights="int8-per-channel", int4_group=16, int4_grouped="pointwise"
    )
    target = Target(name="tflite-t", title="T", format="tflite", runtime="litert", numerics=numerics)
    program = quantize(wide(), Quantize(default="fp32", layers=(("head", "int4-weights"),)), numerics, images(16))
    with pytest.raises(
        ConvertError, match=r"wide as TFLite: head: 6 scales for each output channel: LiteRT has blocks"
    ):
        FORMAT.lower(program, target, tmp_path)


def test_a_weight_that_is_not_in_the_file_is_told_of(mixed: tuple[Program, Path], four_bits: Any) -> None:
    _, stored = bare(mixed[0])
    with pytest.raises(ConvertError, match=r"here: stem.0: its weight is not in the file as it is in the model"):
        with_stored(four_bits[1].read_bytes(), stored, "here")


def test_brain_floats_are_refused_though_a_target_names_them(tmp_path: Path) -> None:
    numerics = Numerics(precisions=("fp32", "bf16"), activations="int8-affine", weights="int8-per-channel")
    target = Target(name="tflite-t", title="T", format="tflite", runtime="litert", numerics=numerics)
    program = quantize(net("mobile"), Quantize(default="bf16"), numerics, noise(16))
    with pytest.raises(TargetError, match=r"target tflite-t: TFLite holds no bf16: take fp16"):
        FORMAT.lower(program, target, tmp_path)


@pytest.mark.slow
def test_wrong_integers_in_a_weight_are_found_and_the_layer_named(tmp_path: Path) -> None:
    program = quantize(wide(), Quantize(default="int8-dynamic"), TARGET.numerics, images(16))
    path = FORMAT.lower(program, TARGET, tmp_path / "lowered")
    model = read_file(path.read_bytes())
    graph = model.subgraphs[0]
    op = next(op for op in graph.operators if kind_of(op, model) == "CONV_2D" and op.inputs[1] >= 0
              and shape_of(graph.tensors[op.inputs[1]])[1:3] == (1, 1))  # fmt: skip
    tensor = graph.tensors[op.inputs[1]]
    tensor.quantization.scale = np.roll(np.asarray(tensor.quantization.scale), 1)
    path.write_bytes(write_file(model))
    made = package(program, TARGET, path, folder=tmp_path / "a", key="k", name="n")
    with pytest.raises(ArtifactError, match=r"is up to"):
        verify(made, tmp_path / "a")
    assert check_on_host(made, tmp_path / "a").layer == "point"


@pytest.mark.slow
def test_a_mix_leaves_int8_layers_float_and_the_others_as_they_are(tmp_path: Path) -> None:
    program = quantize(net("residual"), Quantize(layers=MIXED), TARGET.numerics, noise(16))
    full, some = FORMAT.mixes(program, [program.int8, frozenset({"b.0"})], TARGET, tmp_path)
    assert Counter(op.takes[:2] for op in layer_ops(full.read_bytes()))["INT8", "INT8"] == 2
    assert Counter(op.takes[:2] for op in layer_ops(some.read_bytes()))["INT8", "INT8"] == 1
    for path in (full, some):
        assert Counter(op.takes[:2] for op in layer_ops(path.read_bytes()))["INT16", "INT8"] == 1
