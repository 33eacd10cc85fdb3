"""The promise "one program": what onnxruntime computes is what the host's quantized program computes."""

import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from nets import AFFINE, NETS, ONNX_X86, net, noise
from torch import nn
from torch.nn import functional as F
from zoo import ZOO, images, seen

from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Quantize
from edgekit.core.target import Limits, Numerics, Target
from edgekit.errors import ArtifactError, ConvertError, ModelError, TargetError
from edgekit.formats.onnx import FORMAT
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
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


def written(path: Path) -> list[str]:
    """A digest of all that each output is computed from: ops, attributes and every constant; names do not count."""
    graph = onnx.load(path).graph
    known = {i.name: f"input {i.name}" for i in graph.input}
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        known[tensor.name] = hashlib.sha256(array.tobytes() + f"{array.dtype}{array.shape}".encode()).hexdigest()
    for node in graph.node:
        attributes = sorted(f"{a.name}={onnx.helper.get_attribute_value(a)}" for a in node.attribute)
        text = f"{node.op_type} {attributes} {[known.get(i, '') for i in node.input]}"
        known |= {o: hashlib.sha256(f"{text} {k}".encode()).hexdigest() for k, o in enumerate(node.output)}
    return [known[o.name] for o in graph.output]


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


class Beside(nn.Module):
    """What a ReLU makes lies beside values below zero: they share a scale, whose zero point is not the least step."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.other, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(1, 8, 3), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat((F.relu(self.first(x)), self.other(x)), 1))


def test_a_layer_whose_relu_the_quantize_does_not_absorb_is_int8_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    program = int8(capture(Beside(), (torch.randn(1, 1, 16, 16),), "beside"))
    path = FORMAT.lower(program, ONNX_X86, tmp_path)
    assert compiled(path, tmp_path)["QLinearConv"] == 3
    inputs = noise(16, seed=1).inputs
    assert np.array_equal(FORMAT.run(path, inputs)[0], reference_outputs(program, inputs)[0])


@pytest.mark.parametrize("name", NETS)
def test_a_mix_of_the_file_is_the_file_of_that_recipe(name: str, tmp_path: Path) -> None:
    model = net(name)
    full = int8(model)
    draw = random.Random(name)
    sets = [frozenset(draw.sample(full.layers, draw.randint(1, len(full.layers)))) for _ in range(3)]
    inputs = noise(16, seed=2).inputs
    for some, path in zip(sets, FORMAT.mixes(full, sets, ONNX_X86, tmp_path / "mixes"), strict=True):
        direct = int8(model, default="fp32", layers=tuple((layer, "int8") for layer in sorted(some)))
        assert direct.int8 == some
        lowered = FORMAT.lower(direct, ONNX_X86, tmp_path / "direct")
        assert written(path) == written(lowered)
        assert np.array_equal(FORMAT.run(path, inputs)[0], FORMAT.run(lowered, inputs)[0])


@pytest.mark.parametrize("name", NETS)
def test_a_mix_in_torch_is_the_program_of_that_recipe(name: str) -> None:
    model, inputs = net(name), noise(16, seed=2).inputs
    full = int8(model)
    some = frozenset(random.Random(name).sample(full.layers, 2))
    direct = int8(model, default="fp32", layers=tuple((layer, "int8") for layer in sorted(some)))
    assert np.array_equal(reference_outputs(direct, inputs)[0], reference_outputs(mixed(full, some), inputs)[0])


def test_files_of_mixes_compute_what_their_programs_do(tmp_path: Path) -> None:
    full = int8(net("residual"))
    sets = [full.int8, full.int8 - {"c.0", "head"}, frozenset[str]()]
    inputs = noise(32, seed=3).inputs
    for chosen, path in zip(sets, FORMAT.mixes(full, sets, ONNX_X86, tmp_path), strict=True):
        wanted = reference_outputs(mixed(full, chosen), inputs)[0]
        assert np.abs(FORMAT.run(path, inputs)[0] - wanted).max() < 0.02 * np.abs(wanted).max()


@pytest.mark.parametrize("name", NETS)
def test_a_float_layer_between_int8_ones_is_run_in_float(name: str, tmp_path: Path) -> None:
    """Left to itself, onnxruntime would give its weights an int8 scale of its own, one for the whole tensor."""
    full = int8(net(name))
    sets = [full.int8 - {layer} for layer in full.layers[1:]]
    inputs = noise(32, seed=3).inputs
    for chosen, path in zip(sets, FORMAT.mixes(full, sets, ONNX_X86, tmp_path), strict=True):
        ops = compiled(path, tmp_path)
        assert ops["QLinearConv"] + ops["QGemm"] == len(chosen)
        part = mixed(full, chosen)
        step, wanted = output_steps(part)[0], reference_outputs(part, inputs)[0]
        got = FORMAT.run(path, inputs)[0]
        if step is None:
            assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()
        else:
            assert np.mean(np.rint((got - wanted) / step) != 0) < 0.01


def test_int8_weights_are_stored_as_int8(tmp_path: Path) -> None:
    model = net("concat")
    tensors = onnx.load(FORMAT.lower(int8(model), ONNX_X86, tmp_path)).graph.initializer
    large = [t for t in tensors if np.prod(t.dims) >= 16 * 16]
    assert len(large) == 3
    assert {t.data_type for t in large} == {onnx.TensorProto.INT8}


COUNTS = {
    "ResNet18": {"QLinearConv": 20, "QLinearAdd": 8, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "MobileNetV2": {"QLinearConv": 27, "QLinearAdd": 5, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "Shuffle": {"QLinearConv": 4, "QLinearConcat": 1, "Split": 1, "QGemm": 1},
    "Padded": {"QLinearConv": 4, "QLinearGlobalAveragePool": 1, "QGemm": 1},
    "Squeeze": {"QLinearConv": 4, "QLinearSigmoid": 1, "QLinearMul": 1, "QGemm": 1},
    "Attention": {"QLinearConv": 1, "QGemm": 7, "QLinearMatMul": 2, "QLinearSoftmax": 1, "QLinearAdd": 2},
}
IN_FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Add", "Pad", "Relu"}


@pytest.mark.parametrize("name", ZOO)
def test_the_compiled_graph_of_a_real_architecture_is_int8_throughout(name: str, tmp_path: Path) -> None:
    program = quantize(seen(name), Quantize(), AFFINE, images(8))
    ops = compiled(FORMAT.lower(program, ONNX_X86, tmp_path), tmp_path)
    assert {op: ops[op] for op in COUNTS[name]} == COUNTS[name]
    assert not IN_FLOAT & set(ops)
    if name in ("ResNet18", "MobileNetV2", "Shuffle", "Padded"):
        assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == (1, 1)


@pytest.mark.parametrize("name", ["ResNet18", "MobileNetV2"])
def test_with_symmetric_activations_a_relu_is_a_clip_of_integers_and_no_layer_is_float(
    name: str, tmp_path: Path
) -> None:
    symmetric = Numerics(precisions=("fp32", "int8"), activations="int8-symmetric", weights="int8-per-channel")
    target = Target(
        name="t", title="t", format="onnx", runtime="onnxruntime", numerics=symmetric, requires=(("arch", "x86_64"),)
    )
    program = quantize(seen(name), Quantize(), symmetric, images(8))
    ops = compiled(FORMAT.lower(program, target, tmp_path), tmp_path)
    assert ops["QLinearConv"] == COUNTS[name]["QLinearConv"]
    assert ops["Clip"] == {"ResNet18": 17, "MobileNetV2": 18}[name]
    assert not IN_FLOAT & set(ops)


@pytest.mark.parametrize("name", ["Shuffle", "Padded", "Squeeze", "Attention"])
def test_onnxruntime_equals_the_reference_on_what_real_nets_are_made_of(name: str, tmp_path: Path) -> None:
    program = quantize(seen(name), Quantize(), AFFINE, images(16))
    assert steps_off(program, images(16, seed=1).inputs, tmp_path)[0] == 0


def steps_off(program: Program, inputs: tuple[np.ndarray, ...], folder: Path) -> tuple[float, float]:
    """(the largest error in steps, the share of outputs that differ) of onnxruntime against the reference."""
    step = output_steps(program)[0]
    assert step is not None
    got = FORMAT.run(FORMAT.lower(program, ONNX_X86, folder), inputs)[0]
    error = np.abs(np.rint((got - reference_outputs(program, inputs)[0]) / step))
    return float(error.max()), float(np.mean(error > 0))


class Digits(nn.Module):
    """A residual net for 8×8 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.a = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16))
        self.c = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.b(self.a(x)) + x)
        return self.head(self.c(x).mean((2, 3)))


def trained() -> tuple[Model, Samples, Samples]:
    """A net that reads digits, and the images that it has and has not learned from."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.from_numpy((digits.images[:, None] / 16).astype(np.float32))
    y = torch.from_numpy(digits.target)
    torch.manual_seed(0)
    module = Digits()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(8):
        for rows in torch.randperm(1397, generator=torch.Generator().manual_seed(epoch)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(module.train()(x[rows]), y[rows]).backward()
            optimizer.step()
    model = capture(module, (x[:1],), "digits")
    return model, Samples((x[:300].numpy(),)), Samples((x[1397:].numpy(),), digits.target[1397:])


def test_a_trained_net_differs_in_less_than_one_output_of_a_thousand_and_by_one_step_at_most(tmp_path: Path) -> None:
    model, calibration, test = trained()
    program = quantize(model, Quantize(), AFFINE, calibration)
    worst, share = steps_off(program, test.inputs, tmp_path)
    assert worst <= 1
    assert share <= 0.001
    got = FORMAT.run(FORMAT.lower(program, ONNX_X86, tmp_path), test.inputs)[0]
    assert np.mean(got.argmax(1) == test.labels) > 0.9


def test_all_layers_float_is_the_float_model(tmp_path: Path) -> None:
    model, inputs = net("residual"), noise(8, seed=5).inputs
    (path,) = FORMAT.mixes(int8(model), [frozenset()], ONNX_X86, tmp_path)
    assert "QuantizeLinear" not in compiled(path, tmp_path)
    wanted = FORMAT.run(FORMAT.lower(export(model), ONNX_X86, tmp_path / "float"), inputs)[0]
    assert np.allclose(FORMAT.run(path, inputs)[0], wanted, atol=1e-5 * np.abs(wanted).max())


def test_a_file_tells_nothing_of_where_it_was_made_and_keeps_the_names_of_its_ends(tmp_path: Path) -> None:
    path = FORMAT.lower(int8(net("mobile")), ONNX_X86, tmp_path)
    graph = onnx.load(path).graph
    assert ([i.name for i in graph.input], [o.name for o in graph.output]) == (["in_0"], ["out_0"])
    assert b".py" not in path.read_bytes()


@pytest.mark.parametrize(("opset", "ir_version"), [(18, 9), (13, 8)])
@pytest.mark.parametrize("lowered", [int8, export])
def test_a_file_keeps_its_targets_ceiling_and_computes_the_same(
    lowered: Callable[[Model], Program], opset: int, ir_version: int, tmp_path: Path
) -> None:
    program, inputs = lowered(net("concat")), noise(4, seed=6).inputs
    low = Target(
        name="old", title="old", format="onnx", runtime="onnxruntime",
        numerics=AFFINE, limits=Limits(opset=opset, ir_version=ir_version),
    )  # fmt: skip
    path = FORMAT.lower(program, low, tmp_path / "low")
    proto = onnx.load(path)
    assert (proto.opset_import[0].version, proto.ir_version <= ir_version) == (opset, True)
    newest = FORMAT.run(FORMAT.lower(program, ONNX_X86, tmp_path), inputs)[0]
    assert np.array_equal(FORMAT.run(path, inputs)[0], newest)


def test_an_op_newer_than_the_ceiling_is_refused_by_name(tmp_path: Path) -> None:
    old = Target(name="old", title="old", format="onnx", runtime="onnxruntime", limits=Limits(opset=13))
    with pytest.raises(TargetError, match=r"op HardSwish .*opset 13"):
        FORMAT.lower(export(seen("Squeeze")), old, tmp_path)


class Bessel(nn.Module):
    """Has an op that ONNX has not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(self.conv(x))


@pytest.mark.parametrize("lowered", [int8, export])
def test_an_op_without_translation_is_named_with_its_module_and_source_line(
    lowered: Callable[[Model], Program], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    outer = nn.Sequential(nn.Identity(), Bessel())
    program = lowered(capture(outer, (torch.randn(1, 1, 16, 16),), "waves"))
    with pytest.raises(ConvertError) as told:
        FORMAT.lower(program, ONNX_X86, tmp_path)
    assert "model waves" in str(told.value)
    assert "1 (Bessel)," in str(told.value)
    assert "bessel_j0" in str(told.value)
    assert "test_onnx_equals_the_program.py" in str(told.value)
    assert "return torch.special.bessel_j0(self.conv(x))" in str(told.value)
    assert list(tmp_path.rglob("*.onnx")) == []


def test_a_damaged_file_is_refused_in_words(tmp_path: Path) -> None:
    path = FORMAT.lower(int8(net("mobile")), ONNX_X86, tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match="onnxruntime refuses it"):
        FORMAT.run(path, noise(1).inputs)


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


def test_mixes_of_one_program_are_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, exports = int8(net("mobile")), []
    export_once = torch.onnx.export
    monkeypatch.setattr(torch.onnx, "export", lambda *a, **k: exports.append(1) or export_once(*a, **k))
    for i, layer in enumerate(full.layers):
        FORMAT.mixes(full, [full.int8 - {layer}], ONNX_X86, tmp_path / str(i))
    FORMAT.lower(full, ONNX_X86, tmp_path)
    assert len(exports) == 1
