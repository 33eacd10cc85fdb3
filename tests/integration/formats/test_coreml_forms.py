"""Weights of ML programs in few bits: what the program has is in the file to the bit, in the smallest form there is."""

import hashlib
import zipfile
from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from nets import noise
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Precision, Quantize
from edgekit.core.target import Target
from edgekit.errors import TargetError
from edgekit.formats.child import run_model
from edgekit.formats.coreml import FORMAT, read
from edgekit.formats.mil.grid import digest_of
from edgekit.formats.mil.program import MilProgram
from edgekit.formats.pack import package
from edgekit.formats.verify import verify
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export

IOS16, IOS17, IOS18 = (get_target(f"coreml-iphone-ios{level}") for level in (16, 17, 18))


class Net(nn.Module):
    """Layers of each precision, and layers in float whose weights have few values, or few that are not zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.int4, self.depth = (
            nn.Conv2d(1, 64, 3, 2, 1),
            nn.Conv2d(64, 64, 3),
            nn.Conv2d(64, 64, 3, groups=64),
        )
        self.int8, self.static, self.short = (nn.Conv2d(64, 64, 1) for _ in range(3))
        self.palette, self.grouped, self.sparse = nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 1)
        self.thin, self.sparse_palette, self.head = nn.Conv2d(64, 64, 1), nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.static(torch.relu(self.depth(self.int4(torch.relu(self.stem(x)))))))
        x = F.relu6(F.pad(self.short(torch.relu(self.int8(x))).clamp(min=-0.5), (0, 1, 1, 0)) + 0.25)
        x = torch.relu(self.grouped(torch.relu(self.palette(x)))) + self.thin(self.sparse(x))
        return self.head(torch.relu(self.sparse_palette(x.mean((2, 3)))))


LAYERS: tuple[tuple[str, Precision], ...] = (
    ("int4", "int4-weights"), ("head", "int4-weights"), ("depth", "int8-weights"), ("int8", "int8-weights"),
    ("thin", "int8-weights"), ("static", "int8"), ("short", "fp16"),
)  # fmt: skip


def net() -> Model:
    torch.manual_seed(0)
    module, draw = Net(), np.random.default_rng(0)
    few = draw.standard_normal(16).astype(np.float32) / 8
    for name in ("palette", "grouped", "sparse_palette"):
        part = module.get_submodule(name)
        part.weight.data = torch.from_numpy(draw.choice(few, tuple(part.weight.shape)))
    module.grouped.weight.data *= torch.linspace(0.5, 1, 4).repeat_interleave(16).reshape(-1, 1, 1, 1)
    scales = torch.linspace(0.5, 1, 64).reshape(-1, 1, 1, 1)
    module.int8.weight.data = torch.from_numpy(draw.choice(few[:8], (64, 64, 1, 1))) * scales
    module.int8.weight.data[:, 0] = few[:8].max() * scales[:, 0]
    for name in ("sparse", "sparse_palette", "thin"):
        part = module.get_submodule(name)
        part.weight.data *= torch.from_numpy((draw.random(part.weight.shape) < 0.15).astype(np.float32))
    return capture(module, (torch.randn(1, 1, 24, 24),), "forms")


def made(target: Target, layers: tuple[tuple[str, Precision], ...] = LAYERS) -> Program:
    return quantize(net(), Quantize(default="fp32", layers=layers), target.numerics, noise(8, size=24))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path, Path]:
    """A program, its file, and the file of it without static int8."""
    program = made(IOS18)
    paths = FORMAT.mixes(program, (program.int8, frozenset()), IOS18, tmp_path_factory.mktemp("forms"))
    return program, *paths  # type: ignore[return-value]


@pytest.fixture
def lowered(both: tuple[Program, Path, Path]) -> tuple[Program, Path]:
    return both[:2]


def words(program: MilProgram) -> list[str]:
    """The forms of the weights that ops take, in order of execution."""
    taken = [op.takes["weight"][0] for op in program.ops if "weight" in op.takes]
    return [program.compressed[name].words if name in program.compressed else "" for name in taken]


def test_each_weight_is_in_the_smallest_form_that_holds_it(lowered: tuple[Program, Path]) -> None:
    path = lowered[1]
    assert words(read(path)) == [
        "", "int4", "int8", "int8", "palette of 8", "", "palette of 16", "palette of 16", "sparse", "sparse int8",
        "sparse palette of 16", "int4",
    ]  # fmt: skip
    [said] = FORMAT.remarks(path)
    assert said.startswith("weights: ")
    assert "2 int4" in said


def test_the_package_computes_what_the_program_computes(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    program, path = lowered
    inputs = noise(32, seed=1, size=24).inputs
    wanted, got = reference_outputs(program, inputs)[0], run_model("coreml", path, inputs)[0]
    assert np.abs(got - wanted).max() < 1e-3 * np.abs(wanted).max()
    artifact = package(program, IOS18, path, folder=tmp_path / "artifact", key="k", name="forms")
    assert "sparse int8" in verify(artifact, tmp_path / "artifact").remarks[0]


def test_a_layer_in_half_and_the_bounds_behind_it_compute_in_half(lowered: tuple[Program, Path]) -> None:
    halves = [op.kind for op in read(lowered[1]).ops if op.gives[0].type.dtype == "FLOAT16" and op.kind != "cast"]
    assert set(halves) == {"conv", "clip", "relu6"}


def test_stored_weights_are_the_programs_to_the_bit(lowered: tuple[Program, Path]) -> None:
    program, path = lowered
    found = read(path)
    inside = {digest_of(found.constants[name].numpy()) for name in found.compressed}  # type: ignore[union-attr]
    module = net().module
    kept = [module.get_submodule(name).weight for name in ("palette", "grouped", "sparse", "sparse_palette")]
    stored = [program.exported.state_dict[f"{name}.weight"] for name in ("int4", "depth", "int8", "thin", "head")]
    for weight in (*kept, *stored):
        assert digest_of(weight.detach().numpy()) in inside


def test_coremltools_itself_opens_each_form_to_the_same_bits(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(lowered[1]) as archive:
        archive.extractall(tmp_path)
    small = ct.models.MLModel(str(tmp_path / "model.mlpackage"), skip_model_load=True)
    cto.decompress_weights(small).save(str(tmp_path / "opened.mlpackage"))
    found, opened = read(lowered[1]), read(tmp_path / "opened.mlpackage")
    assert not opened.compressed
    for op, other in zip(found.ops, opened.ops, strict=True):
        assert op.kind == other.kind
        if "weight" in op.takes:
            weight, wanted = (m.constants[o.takes["weight"][0]] for m, o in ((found, op), (opened, other)))
            assert torch.equal(weight, wanted)  # type: ignore[arg-type]


def test_an_older_system_gets_the_forms_that_it_has(tmp_path: Path) -> None:
    held: tuple[tuple[str, Precision], ...] = (("depth", "int8-weights"), ("int8", "int8-weights"), ("short", "fp16"))
    program = made(IOS16, held)
    path = FORMAT.lower(program, IOS16, tmp_path)
    assert words(read(path)) == [
        "", "", "int8", "", "int8", "", "palette of 16", "palette of 64", "sparse", "sparse", "sparse", "",
    ]  # fmt: skip
    inputs = noise(16, seed=1, size=24).inputs
    wanted = reference_outputs(program, inputs)[0]
    assert np.abs(run_model("coreml", path, inputs)[0] - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.slow
def test_equal_models_give_equal_bytes(lowered: tuple[Program, Path], tmp_path: Path) -> None:
    program, path = lowered
    again = FORMAT.lower(program, IOS18, tmp_path)
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_a_mix_leaves_stored_weights_as_they_are(both: tuple[Program, Path, Path]) -> None:
    program, path, other = both
    assert words(read(other)) == [*words(read(path))[:3], "", *words(read(path))[4:]]
    inputs = noise(16, seed=1, size=24).inputs
    wanted = reference_outputs(mixed(program, frozenset()), inputs)[0]
    assert np.abs(run_model("coreml", other, inputs)[0] - wanted).max() < 1e-3 * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("precision", "target", "said"),
    [
        ("int4-weights", IOS17, r"ios17 is for iOS 17 \(macOS 14\).* int4 is .* from iOS 18 \(macOS 15\) on"),
        ("int8", IOS16, r"ios16 is for iOS 16 \(macOS 13\).* int4 is int8, .* from iOS 17 \(macOS 14\) on"),
        ("bf16", IOS18, "ios18 is for .* Core ML has no bf16"),
        ("int8-dynamic", IOS18, "Core ML has no int8-dynamic"),
    ],
)
def test_what_a_system_lacks_is_refused_by_layer_and_system(
    precision: Precision, target: Target, said: str, tmp_path: Path
) -> None:
    program = Program(export(net()).exported, export(net()).spec, ("int4",), {"int4": precision})
    with pytest.raises(TargetError, match=said):
        FORMAT.lower(program, target, tmp_path)
    with pytest.raises(TargetError, match=rf"{precision} was asked for, and the target holds fp32, .*: Core ML "):
        made(target, (("int4", precision),))
