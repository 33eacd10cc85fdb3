"""The promise "one program": what XNNPACK computes is what the host's quantized program computes, in int8 kernels."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from nets import NETS, ONNX_X86, TFLITE_X86, net, noise
from torch import nn

from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Quantize
from edgekit.errors import ConvertError, TargetError
from edgekit.formats import crossing, tflite
from edgekit.formats.child import run_model
from edgekit.formats.crossing import read_program, write_program
from edgekit.formats.tflite import FORMAT
from edgekit.formats.tflite_ops import Op, layer_ops, read_ops
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export


def int8(model: Model, calibration: Samples | None = None) -> Program:
    return quantize(model, Quantize(), TFLITE_X86.numerics, calibration or noise(32))


def not_delegated(path: Path) -> Counter[str]:
    """The ops that LiteRT runs itself on this computer: those that are in no partition of XNNPACK's."""
    inside = Interpreter(model_path=str(path), num_threads=1)
    inside.allocate_tensors()
    ops = [d for d in inside._get_ops_details() if d["op_name"] != "DELEGATE"]
    maker = {int(i): op["index"] for op in ops for i in op["outputs"]}
    delegated: set[int] = set()
    for part in (d for d in inside._get_ops_details() if d["op_name"] == "DELEGATE"):
        border, waiting = {int(i) for i in part["inputs"]}, [int(i) for i in part["outputs"]]
        while waiting:
            value = waiting.pop()
            if value in maker and value not in border and maker[value] not in delegated:
                delegated.add(maker[value])
                waiting += [int(i) for op in ops if op["index"] == maker[value] for i in op["inputs"] if i >= 0]
    return Counter(op["op_name"] for op in ops if op["index"] not in delegated)


def is_int8(op: Op) -> bool:
    return op.takes == ("INT8", "INT8", "INT32") and op.gives == ("INT8",)


@pytest.fixture(scope="module", params=NETS)
def lowered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    program = int8(net(request.param))
    return program, FORMAT.lower(program, TFLITE_X86, tmp_path_factory.mktemp(request.param))


def test_every_output_of_xnnpack_is_that_of_the_reference(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    inputs = noise(256, seed=1).inputs
    step = output_steps(program)[0]
    assert step is not None
    got, wanted = run_model("tflite", path, inputs)[0], reference_outputs(program, inputs)[0]
    assert not np.rint((got - wanted) / step).any()
    assert len(np.unique(np.rint(wanted / step))) > 50


def test_every_layer_of_an_int8_file_is_an_int8_kernel_of_xnnpack(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    ops = layer_ops(path.read_bytes())
    assert len(ops) == len(program.layers)
    assert all(map(is_int8, ops))
    assert not not_delegated(path)


def test_a_file_takes_and_gives_float(lowered: tuple[Program, Path]) -> None:
    ops = read_ops(lowered[1].read_bytes())
    assert (ops[0].name, ops[0].takes, ops[0].gives) == ("QUANTIZE", ("FLOAT32",), ("INT8",))
    assert (ops[-1].name, ops[-1].takes, ops[-1].gives) == ("DEQUANTIZE", ("INT8",), ("FLOAT32",))
    assert [op.name for op in ops if op.name in {"QUANTIZE", "DEQUANTIZE"}] == ["QUANTIZE", "DEQUANTIZE"]


@pytest.mark.slow
def test_float_layers_of_a_mix_stay_float_and_the_others_int8(tmp_path: Path) -> None:
    full = int8(net("residual"))
    lefts = [{"c.0", "head"}, {"stem.0", "a.0", "b.0"}, {"d.0"}]
    inputs = noise(32, seed=3).inputs
    paths = FORMAT.mixes(full, [full.int8 - left for left in lefts], TFLITE_X86, tmp_path)
    for left, path in zip(lefts, paths, strict=True):
        kinds = [op.takes[:2] for op in layer_ops(path.read_bytes())]
        assert Counter(kinds) == {("INT8", "INT8"): len(full.int8 - left), ("FLOAT32", "FLOAT32"): len(left)}
        assert (kinds[0][0] == "FLOAT32") == ("stem.0" in left)
        assert (kinds[-1][0] == "FLOAT32") == ("head" in left)
        wanted = reference_outputs(mixed(full, full.int8 - left), inputs)[0]
        assert np.abs(run_model("tflite", path, inputs)[0] - wanted).max() < 1e-4


def test_a_trained_net_equals_the_reference_in_999_of_1000_outputs(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.nn.functional.interpolate(torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], size=16)
    labels = torch.tensor(digits.target)
    model = net("residual")
    _train_(model.module, images[:1400], labels[:1400])
    model = capture(model.module, model.example, "digits")
    program = int8(model, Samples((images[:256].numpy(),)))
    inputs = (images[1400:].numpy(),)
    wanted = reference_outputs(program, inputs)[0]
    assert np.mean(wanted.argmax(1) == labels[1400:].numpy()) > 0.9
    got = run_model("tflite", FORMAT.lower(program, TFLITE_X86, tmp_path), inputs)[0]
    steps = np.rint(np.abs(got - wanted) / output_steps(program)[0])
    assert steps.max() <= 1
    assert np.mean(steps == 0) >= 0.999


def _train_(module: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(module.train().parameters(), 3e-3)
    for _ in range(5):
        for part in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(images[part]), labels[part]).backward()
            optimizer.step()
    module.eval()


class Transformer(nn.Module):
    """A block of linear layers over three dimensions, matmuls, softmax, GELU, LayerNorm; two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.norm(x)
        x = x + self.o(torch.softmax(self.q(y) @ self.k(y).transpose(1, 2) * 0.17, -1) @ self.v(y))
        return self.down(nn.functional.gelu(self.up(x))), x * scale


def test_inputs_and_outputs_keep_their_order_and_linear_layers_of_any_rank_are_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Transformer(), (torch.randn(2, 10, 32), torch.rand(2, 1, 1)), "block")
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((32, 10, 32)).astype(np.float32), draw.random((32, 1, 1)).astype(np.float32)
    program = quantize(model, Quantize(), TFLITE_X86.numerics, Samples(inputs))
    path = FORMAT.lower(program, TFLITE_X86, tmp_path)
    assert sum(map(is_int8, layer_ops(path.read_bytes()))) == 6
    got, wanted = run_model("tflite", path, inputs), reference_outputs(program, inputs)
    assert [a.shape for a in got] == [(32, 10, 32), (32, 10, 32)]
    for g, w in zip(got, wanted, strict=True):
        assert np.sqrt(np.mean((g - w) ** 2)) < np.abs(w).max() / 255


def test_an_op_that_cannot_be_converted_is_named_with_its_source_line(tmp_path: Path) -> None:
    class Spectrum(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(2 * x)

    with pytest.raises(ConvertError) as caught:
        FORMAT.lower(export(capture(Spectrum(), (torch.eye(4),), "spectrum")), TFLITE_X86, tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    for part in ("spectrum", "TFLite", "svd", "test_tflite.py", "torch.linalg.svdvals(2 * x)"):
        assert part in said
    assert list(tmp_path.iterdir()) == []


def test_activations_that_tflite_cannot_hold_are_refused_by_name(tmp_path: Path) -> None:
    program = int8(net("concat"))
    with pytest.raises(TargetError, match=r"onnx-x86_64.*int8-affine.*uint8-affine"):
        FORMAT.lower(program, ONNX_X86, tmp_path)


@pytest.mark.parametrize(("bound", "said"), [("DEADLINE_S", "no result after"), ("MEMORY_BYTES", "memory")])
def test_a_converter_out_of_bounds_is_ended(
    bound: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossing, f"CONVERT_{bound}", 0.5 if bound == "DEADLINE_S" else 200 << 20)
    with pytest.raises(ConvertError, match=f"mobile.*{said}"):
        FORMAT.lower(export(net("mobile")), TFLITE_X86, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_quantized_layers_are_float_is_not_handed_out(tmp_path: Path) -> None:
    path = FORMAT.lower(export(net("concat")), TFLITE_X86, tmp_path)
    with pytest.raises(ConvertError, match=r"concat.* 4 layers are int8, and only 0 would run so"):
        tflite.check_file(int8(net("concat")), path)


def test_a_program_that_crosses_to_another_process_computes_the_same(tmp_path: Path) -> None:
    program = int8(net("residual"))
    write_program(program, tmp_path)
    other = read_program(tmp_path)
    assert (other.spec, other.layers, other.int8) == (program.spec, program.layers, program.int8)
    inputs, some = noise(8, seed=2).inputs, frozenset(("a.0", "d.0", "head"))
    for a, b in ((program, other), (mixed(program, some), mixed(other, some))):
        assert np.array_equal(reference_outputs(a, inputs)[0], reference_outputs(b, inputs)[0])
