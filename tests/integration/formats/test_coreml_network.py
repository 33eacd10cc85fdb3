"""Neural networks of Core ML, for systems before iOS 15: they compute the program, and what they lack is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
import zoo
from nets import net, noise
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.core.recipe import Precision, Quantize
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.child import run_model
from edgekit.formats.coreml import FORMAT, read
from edgekit.formats.pack import package
from edgekit.formats.verify import verify
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export
from edgekit.pipeline.check import check
from edgekit.store.artifacts import ArtifactStore

IOS13 = get_target("coreml-iphone-ios13")
LAYERS: tuple[tuple[str, Precision], ...] = (("b.0", "fp16"), ("c.0", "fp32"))


@pytest.fixture(scope="module")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    """A net with weights in int8, in half, in float, and of few values."""
    model = net("residual")
    weight = model.module.get_submodule("head").weight
    weight.data = torch.from_numpy(np.random.default_rng(0).standard_normal(8).astype(np.float32)[weight.argsort() % 8])
    step = Quantize(default="int8-weights", layers=(*LAYERS, ("head", "fp32")))
    program = quantize(model, step, IOS13.numerics, noise(16))
    return program, FORMAT.lower(program, IOS13, tmp_path_factory.mktemp("network"))


def test_it_is_a_mlmodel_that_iphones_of_ios_13_load(lowered: tuple[Program, Path]) -> None:
    import coremltools

    assert lowered[1].name == "model.mlmodel"
    spec = coremltools.utils.load_spec(str(lowered[1]))
    assert spec.WhichOneof("Type") == "neuralNetwork"
    assert spec.specificationVersion == 4
    assert [f.name for f in (*spec.description.input, *spec.description.output)] == ["in_0", "out_0"]


def test_weights_are_stored_as_their_layers_say_and_in_palettes_where_they_are_few(
    lowered: tuple[Program, Path],
) -> None:
    found = read(lowered[1])
    forms = [found.compressed.get(op.takes["weight"][0]) for op in found.ops if "weight" in op.takes]
    assert [form and form.words for form in forms] == ["int8", "int8", "float16", None, "int8", "int8", "palette of 8"]


def test_an_int8_weight_is_off_by_a_65000th_part_of_its_step_at_most(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    found, state = read(path), program.exported.state_dict
    weights = [found.constants[op.takes["weight"][0]] for op in found.ops if "weight" in op.takes]
    order = [name for name in program.layers if program.precisions.get(name) == "int8-weights"]
    assert len(order) == 4
    for name in order:
        wanted = state[f"{name}.weight"]
        step = state[f"{name}.weight_scale"].reshape(-1, *[1] * (wanted.ndim - 1))
        near = [w for w in weights if w.shape == wanted.shape and bool(((w - wanted).abs() < step / 65_000).all())]
        assert len(near) == 1


def test_the_network_computes_what_the_program_computes(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    program, path = lowered
    inputs = noise(32, seed=1).inputs
    wanted, got = reference_outputs(program, inputs)[0], run_model("coreml", path, inputs)[0]
    assert np.abs(got - wanted).max() < 1e-3 * np.abs(wanted).max()
    artifact = package(program, IOS13, path, folder=tmp_path / "artifact", key="k", name="network")
    assert verify(artifact, tmp_path / "artifact").remarks[0].startswith("weights: 4 int8, ")


def test_a_bare_file_is_checked_without_a_mac(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    found = check(str(lowered[1]), ArtifactStore(tmp_path))
    assert found.is_right
    (tmp_path / "cut.mlmodel").write_bytes(lowered[1].read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"cut\.mlmodel: its model is no Core ML specification"):
        check(str(tmp_path / "cut.mlmodel"), ArtifactStore(tmp_path))


class Turned(nn.Module):
    """Two inputs, whole numbers, and outputs in another order than they are made: a channel shuffle and a select."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.conv = nn.Embedding(7, 16), nn.Conv1d(8, 16, 3, padding=1)

    def forward(self, out_0: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(out_0).reshape(2, 2, 8, 5).transpose(1, 2).reshape(2, 16, 5)
        y = self.table(words)[:, -1]
        return torch.where(x > 0.5, x, x * y[:, :, None]), y.argmax(1)


@pytest.mark.slow
def test_inputs_and_outputs_keep_names_order_and_kinds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Turned(), (torch.randn(2, 8, 5), torch.arange(6).reshape(2, 3)), "turned")
    path = FORMAT.lower(export(model), IOS13, tmp_path)
    assert [(t.name, t.dtype) for t in FORMAT.inputs(path)] == [("in_0", "float32"), ("in_1", "int32")]
    draw = np.random.default_rng(1)
    inputs = draw.standard_normal((4, 8, 5)).astype(np.float32), draw.integers(0, 7, (4, 3))
    batches = [tuple(torch.from_numpy(a[i : i + 2]) for a in inputs) for i in (0, 2)]
    with torch.no_grad():
        wanted = [torch.cat(parts) for parts in zip(*(model.module(*batch) for batch in batches), strict=True)]
    got = run_model("coreml", path, inputs)
    assert np.allclose(got[0], wanted[0].numpy(), rtol=1e-5, atol=1e-6)
    assert np.array_equal(got[1], wanted[1].numpy())


def refused(module: nn.Module, example: Tensor, folder: Path) -> str:
    with pytest.raises(ConvertError) as caught:
        FORMAT.lower(export(capture(nn.Sequential(module), (example,), "new")), IOS13, folder)
    assert list(folder.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("function", "example", "said"),
    [
        (lambda x: F.pixel_shuffle(x, 2), (1, 4, 2, 2), ["aten.pixel_shuffle", "came with iOS 14", "for iOS 13"]),
        pytest.param(
            lambda x: F.pixel_unshuffle(x, 2), (1, 4, 2, 2), ["aten.pixel_unshuffle", "no such layer"],
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_an_op_that_they_lack_is_refused_by_module_line_op_reason_and_rewrite(
    function: object, example: tuple[int, ...], said: list[str], tmp_path: Path
) -> None:
    class Inner(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(2 * x)  # type: ignore[operator]

    text = refused(Inner(), torch.randn(example), tmp_path)
    for part in ("model new", "0 (Inner)", "test_coreml_network.py", "write it with other", "from iOS 15", *said):
        assert part in text
    assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", [*zoo.ZOO, *zoo.HARD])
def test_the_zoo_is_the_model(name: str, tmp_path: Path) -> None:
    model: Model = zoo.seen(name) if name in zoo.ZOO else zoo.hard(name)
    samples = zoo.images(2, seed=1) if name in zoo.ZOO else zoo.hard_samples(name, 2, seed=1)
    path = FORMAT.lower(export(model), IOS13, tmp_path)
    wanted = reference_outputs(export(model), samples.inputs)
    for got, want in zip(run_model("coreml", path, samples.inputs), wanted, strict=True):
        assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()
