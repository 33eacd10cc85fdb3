"""The promise "one program" for Core ML: what the package's program computes is what the host's program computes."""

import hashlib
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from nets import ONNX_X86, net, noise
from torch import nn

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Quantize
from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats import coreml_convert, crossing
from edgekit.formats.child import run_model
from edgekit.formats.coreml import FORMAT, read
from edgekit.formats.coreml_convert import LAYERS, int8_layers
from edgekit.formats.mil.program import evaluate, variables
from edgekit.formats.vectors import make_vectors
from edgekit.formats.verify import band
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export

MAC = get_target("coreml-apple-silicon")


def int8(model: Model, calibration: Samples | None = None) -> Program:
    return quantize(model, Quantize(), MAC.numerics, calibration or noise(32))


slow = pytest.mark.slow


@pytest.fixture(scope="module", params=["residual", *(pytest.param(name, marks=slow) for name in ("mobile", "concat"))])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path, Path]:
    """A program, its file, and the file of its float model."""
    program = int8(net(request.param))
    paths = FORMAT.mixes(program, (program.int8, frozenset()), MAC, tmp_path_factory.mktemp(request.param))
    return program, *paths  # type: ignore[return-value]


@pytest.fixture
def lowered(both: tuple[Program, Path, Path]) -> tuple[Program, Path]:
    return both[:2]


def test_every_output_is_that_of_the_reference(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    inputs = noise(256, seed=1).inputs
    step = output_steps(program)[0]
    assert step is not None
    got, wanted = run_model("coreml", path, inputs)[0], reference_outputs(program, inputs)[0]
    assert not np.rint((got - wanted) / step).any()
    assert len(np.unique(np.rint(wanted / step))) > 50


def test_every_layer_of_an_int8_file_has_int8_weights_and_an_int8_input(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    made = read(path)
    assert len(int8_layers(made)) == len(program.layers) == sum(op.kind in LAYERS for op in made.ops)


def test_the_values_in_between_can_be_had_by_name(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    made, inputs = read(path), noise(1, seed=1).inputs
    names = [variable.name for variable in variables(made)]
    values = evaluate(made, inputs, names)
    assert list(values) == names
    assert np.array_equal(values[made.outputs[0]], run_model("coreml", path, inputs)[0])
    stored = [values[op.gives[0].name] for op in made.ops if op.kind == "quantize"]
    assert len(stored) >= len(program.layers)
    assert {array.dtype for array in stored} <= {np.dtype("int8"), np.dtype("uint8")}


def test_equal_models_give_equal_bytes(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    program, path = lowered
    again = FORMAT.lower(program, MAC, tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_a_package_is_laid_out_as_coremltools_reads_it(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    import coremltools

    program, path = lowered
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        archive.extractall(tmp_path)
    [folder] = tmp_path.iterdir()
    assert folder.name == "model.mlpackage"
    spec = coremltools.models.MLModel(str(folder), skip_model_load=True).get_spec()
    assert [feature.name for feature in spec.description.input] == [t.name for t in program.spec.inputs]
    assert [feature.name for feature in spec.description.output] == [t.name for t in program.spec.outputs]
    inputs = noise(4, seed=1).inputs
    assert np.array_equal(run_model("coreml", folder, inputs)[0], run_model("coreml", path, inputs)[0])


@slow
def test_float_layers_of_a_mix_stay_float_and_the_others_int8(tmp_path: Path) -> None:
    full = int8(net("residual"))
    lefts = [{"c.0", "head"}, {"stem.0", "a.0", "b.0"}, {"d.0"}]
    inputs = noise(32, seed=3).inputs
    paths = FORMAT.mixes(full, [full.int8 - left for left in lefts], MAC, tmp_path)
    for left, path in zip(lefts, paths, strict=True):
        made = read(path)
        assert len(int8_layers(made)) == len(full.int8 - left)
        assert sum(op.kind in LAYERS for op in made.ops) == len(full.int8)
        wanted = reference_outputs(mixed(full, full.int8 - left), inputs)[0]
        assert np.abs(run_model("coreml", path, inputs)[0] - wanted).max() < 1e-4


@slow
@pytest.mark.parametrize("name", zoo.ZOO)
def test_the_zoo_is_the_model_in_float_and_in_int8_as_near_as_rounding_allows(name: str, tmp_path: Path) -> None:
    program = int8(zoo.seen(name), zoo.images(16))
    full, plain = FORMAT.mixes(program, (program.int8, frozenset()), MAC, tmp_path)
    assert len(int8_layers(read(full))) >= len(program.int8)
    inputs = zoo.images(16, seed=1).inputs
    step = output_steps(program)[0]
    assert step is not None
    errors = np.abs(run_model("coreml", full, inputs)[0] - reference_outputs(program, inputs)[0]) / step
    rounding = make_vectors(program, zoo.images(16, seed=1)).rounding[0]
    most_rms, most = band(rounding, quantized=True, in_steps=True)
    assert np.sqrt(np.mean(errors**2)) <= most_rms
    assert errors.max() <= most
    wanted = reference_outputs(export(zoo.seen(name)), inputs)[0]
    assert np.abs(run_model("coreml", plain, inputs)[0] - wanted).max() < 1e-4 * np.abs(wanted).max()


class Transformer(nn.Module):
    """A block of linear layers over three dimensions, matmuls, softmax, GELU, LayerNorm; two inputs, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.norm, self.up, self.down = nn.LayerNorm(32), nn.Linear(32, 64), nn.Linear(64, 32)

    def forward(self, out_0: torch.Tensor, in_0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.norm(out_0)
        x = out_0 + self.o(torch.softmax(self.q(y) @ self.k(y).transpose(1, 2) * 0.17, -1) @ self.v(y))
        return self.down(nn.functional.gelu(self.up(x))), x * in_0


@slow
def test_inputs_and_outputs_keep_their_order_whatever_the_model_calls_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Transformer(), (torch.randn(2, 10, 32), torch.rand(2, 1, 1)), "block")
    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((32, 10, 32)).astype(np.float32), draw.random((32, 1, 1)).astype(np.float32)
    program = quantize(model, Quantize(), MAC.numerics, Samples(inputs))
    path = FORMAT.lower(program, MAC, tmp_path)
    made = read(path)
    assert [v.name for v in made.inputs] == ["in_0", "in_1"]
    assert made.outputs == ("out_0", "out_1")
    assert Counter(op.kind for op in made.ops)["linear"] == len(int8_layers(made)) == 6
    got, wanted = run_model("coreml", path, inputs), reference_outputs(program, inputs)
    for g, w in zip(got, wanted, strict=True):
        assert np.sqrt(np.mean((g - w) ** 2)) < np.abs(w).max() / 255


@slow
def test_whole_numbers_go_in_and_out(tmp_path: Path) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(11, 8)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.table(words).mean(1).argmax(1)

    torch.manual_seed(0)
    model = capture(Words(), (torch.arange(10).reshape(2, 5),), "words")
    path = FORMAT.lower(export(model), MAC, tmp_path)
    inputs = np.random.default_rng(0).integers(0, 11, (6, 5))
    wanted = model.module(torch.from_numpy(inputs)).numpy()
    assert np.array_equal(run_model("coreml", path, (inputs,))[0], wanted)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.lstm = nn.GRU(8, 12, 2, batch_first=True), nn.LSTM(12, 6, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, state = self.gru(x, state)
        return self.lstm(y)[0], state


@slow
def test_recurrent_layers_are_written_step_by_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = torch.randn(1, 5, 8), torch.randn(2, 1, 12)
    model = capture(Recurrent(), given, "recurrent")
    got = run_model("coreml", FORMAT.lower(export(model), MAC, tmp_path), tuple(x.numpy() for x in given))
    for g, w in zip(got, model.module(*given), strict=True):
        assert np.abs(g - w.detach().numpy()).max() < 1e-6


def test_an_op_that_cannot_be_converted_is_named_with_its_source_line(tmp_path: Path) -> None:
    class Inner(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(2 * x)

    with pytest.raises(ConvertError) as caught:
        FORMAT.lower(export(capture(nn.Sequential(Inner()), (torch.eye(4),), "spectrum")), MAC, tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    for part in ("spectrum", "Core ML", "Inner", "svd", "test_coreml.py", "torch.linalg.svdvals(2 * x)", "write it"):
        assert part in said
    assert list(tmp_path.iterdir()) == []


def test_activations_that_core_ml_is_not_given_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"onnx-x86_64.*int8-affine.*uint8-affine"):
        FORMAT.lower(int8(net("concat")), ONNX_X86, tmp_path)


def test_a_converter_out_of_time_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "CONVERT_DEADLINE_S", 0.5)
    with pytest.raises(ConvertError, match=r"mobile.*no result after"):
        FORMAT.lower(export(net("mobile")), MAC, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_whose_quantized_layers_are_float_is_not_handed_out(both: tuple[Program, Path, Path]) -> None:
    program, _, path = both
    with pytest.raises(ConvertError, match=rf" {len(program.layers)} layers are quantized, and only 0 are int8"):
        coreml_convert.check_file(program, path)


def repacked(path: Path, to: Path, **changed: bytes | None) -> Path:
    """The package with other content for the members whose name ends in a word (None: left out)."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(to, "w") as new:
        for entry in old.infolist():
            content: bytes | None = old.read(entry)
            for word, other in changed.items():
                if word in entry.filename:
                    content = other
            if content is not None:
                new.writestr(entry, content)
    return to


def test_a_hostile_package_is_refused_in_one_line_that_says_why(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    path, inputs = lowered[1], noise(1).inputs
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("model.mlpackage/Manifest.json"))
        weights = archive.read("model.mlpackage/Data/com.apple.CoreML/weights/weight.bin")
    for item in manifest["itemInfoEntries"].values():
        item["path"] = "../../../../etc/passwd"
    cases = {
        "no Manifest": {"Manifest": None}, "names no model": {"Manifest": b"[]"},
        "passwd.*not there": {"Manifest": json.dumps(manifest).encode()},
        "no Core ML specification": {"mlmodel": b"\x08"}, "weight.bin.*not there": {"weight": None},
        "weight.bin": {"weight": weights[: len(weights) // 2]}, "is damaged": {"weight": bytes(len(weights))},
    }  # fmt: skip
    for number, (said, changes) in enumerate(cases.items()):
        bad = repacked(path, tmp_path / f"{number}.zip", **changes)
        with pytest.raises(ArtifactError, match=said) as caught:
            FORMAT.run(bad, inputs)
        assert "\n" not in str(caught.value)
        assert bad.name in str(caught.value)


def test_a_program_with_bits_flipped_runs_or_is_refused_in_one_line(
    lowered: tuple[Program, Path], tmp_path: Path
) -> None:
    path, inputs, draw = lowered[1], noise(1).inputs, np.random.default_rng(0)
    with zipfile.ZipFile(path) as archive:
        spec = archive.read("model.mlpackage/Data/com.apple.CoreML/model.mlmodel")
    refused = 0
    for _ in range(200):
        content = np.frombuffer(spec, np.uint8).copy()
        content[draw.integers(len(content), size=draw.integers(1, 4))] ^= np.uint8(1 << draw.integers(8))
        try:
            FORMAT.run(repacked(path, tmp_path / "bad.zip", mlmodel=content.tobytes()), inputs)
        except ArtifactError as error:
            refused += 1
            assert "\n" not in str(error)
            assert str(error).startswith("bad.zip: ")
    assert 100 < refused < 200
