"""The promises of `edgekit.formats.base.Format` as tests, for whoever writes a back end.

    class TestMyFormat(FormatContract):
        target = Target(name="my-chip", title="…", format="my", runtime="…", numerics=…)

The back end is found by its entry point. It is asked to lower a small net that has a residual branch, a depthwise
convolution, a pooling and a linear layer. `exactness` is the share of int8 outputs that must equal the reference.
"""

# ruff: noqa: D102  the names of tests are sentences

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.base import Format, get_format
from edgekit.formats.child import run_model
from edgekit.formats.names import format_names
from edgekit.formats.pack import package
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export
from edgekit.store.artifacts import check_files
from edgekit.testing.damage import DAMAGES, Damage, try_files, write_damaged

BATCH = 2


class SmallNet(nn.Module):
    """Five layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.depth = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.point = nn.Conv2d(32, 32, 1)
        self.down = nn.Conv2d(32, 64, 3, 2, 1)
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class scores of a batch of 3×16×16 images."""
        x = torch.relu(self.stem(x))
        x = x + self.point(nn.functional.relu6(self.depth(x)))
        x = nn.functional.max_pool2d(torch.relu(self.down(x)), 2)
        return self.head(x.mean((2, 3)))


def small_model(seed: int = 0) -> Model:
    """SmallNet with seeded weights, captured at a batch of BATCH."""
    torch.manual_seed(seed)
    return capture(SmallNet(), (torch.randn(BATCH, 3, 16, 16),), "small")


def images(count: int, seed: int) -> Samples:
    """`count` images of seeded noise."""
    return Samples((np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32),))


class BadFiles:
    """Damaged files of a back end's format: refused with a reason, or off its test vectors, or harmless."""

    target: ClassVar[Target]
    bad_files: ClassVar[int] = 200

    @pytest.fixture(scope="class")
    def program(self) -> Program:
        """The small net, all int8 in the target's numerics."""
        return quantize(small_model(), Quantize(), self.target.numerics, images(32, seed=0))

    @pytest.fixture(scope="class")
    def sound(self, program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The file that is damaged."""
        return get_format(self.target.format).lower(program, self.target, tmp_path_factory.mktemp("sound"))

    @pytest.fixture(scope="class")
    def packed(self, program: Program, sound: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Path]:
        """The artifact of that file."""
        folder = tmp_path_factory.mktemp("packed")
        return package(program, self.target, sound, folder=folder, key="k", name="small"), folder

    def damages(self) -> Sequence[Damage]:
        """The kinds of damage; a back end adds what only its format can suffer."""
        return DAMAGES

    def test_a_damaged_file_is_refused_or_off_its_vectors_or_harmless(
        self, packed: tuple[Artifact, Path], tmp_path: Path
    ) -> None:
        artifact, folder = packed
        sound = folder / artifact.model_file
        files = write_damaged(sound.read_bytes(), sound.suffix, self.bad_files, tmp_path, self.damages())
        swapped = tmp_path / f"swapped{sound.suffix}"
        swapped.write_bytes((folder / str(artifact.vectors)).read_bytes())
        files[swapped] = "swapped"
        tried = try_files(artifact.format, files, folder / str(artifact.vectors), tmp_path / "log")
        assert len(tried) == self.bad_files + 1
        assert all(t.reason for t in tried if t.damage in ("emptied", "swapped"))
        assert not [t for t in tried if t.reason and "no result after" in t.reason]
        assert sum(t.reason is not None for t in tried) > len(tried) / 4
        assert max(len((t.reason or "").splitlines()) for t in tried) == 1

    def test_a_damaged_file_of_an_artifact_is_refused_by_its_hash(
        self, packed: tuple[Artifact, Path], tmp_path: Path
    ) -> None:
        artifact, folder = packed
        content = (folder / artifact.model_file).read_bytes()
        for damage in self.damages():
            bad = damage(content, np.random.default_rng(1))
            (tmp_path / artifact.model_file).write_bytes(bad)
            with pytest.raises(ArtifactError, match="damaged"):
                check_files(artifact, tmp_path)


class FormatContract(BadFiles):
    """Every back end passes these."""

    exactness: ClassVar[float] = 1.0
    some: ClassVar[frozenset[str]] = frozenset(("depth", "down", "head"))

    @pytest.fixture(scope="class")
    def back_end(self) -> Format:
        """The back end under test."""
        return get_format(self.target.format)

    @pytest.fixture(scope="class")
    def sound(self, files: tuple[Path, ...]) -> Path:
        """The file of all layers in int8."""
        return files[0]

    @pytest.fixture(scope="class")
    def files(self, back_end: Format, program: Program, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
        """All int8, some layers int8, none int8, and the first again."""
        sets = (program.int8, self.some, frozenset[str](), program.int8)
        return back_end.mixes(program, sets, self.target, tmp_path_factory.mktemp("mixes"))

    def test_it_is_found_by_its_name(self, back_end: Format) -> None:
        assert back_end.name == self.target.format
        assert back_end.name in format_names()

    def test_lowering_writes_one_file_into_the_folder_and_prints_nothing(
        self, back_end: Format, program: Program, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = back_end.lower(program, self.target, tmp_path / "new" / "folder")
        assert capfd.readouterr().out == ""
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]

    def test_a_file_says_what_the_model_takes(
        self, back_end: Format, program: Program, files: tuple[Path, ...]
    ) -> None:
        [takes] = back_end.inputs(files[0])
        assert (takes.shape, takes.dtype) == (program.spec.inputs[0].shape, "float32")

    def test_an_int8_file_computes_what_the_program_computes(self, program: Program, files: tuple[Path, ...]) -> None:
        inputs = images(64, seed=1).inputs
        got = run_model(self.target.format, files[0], inputs)[0]
        step = output_steps(program)[0]
        assert step is not None
        steps = np.rint(np.abs(got - reference_outputs(program, inputs)[0]) / step)
        assert steps.max() <= 1
        assert np.mean(steps == 0) >= self.exactness

    def test_a_mix_computes_what_its_program_computes(self, program: Program, files: tuple[Path, ...]) -> None:
        inputs = images(64, seed=1).inputs
        part = mixed(program, self.some)
        wanted = reference_outputs(part, inputs)[0]
        error = np.abs(run_model(self.target.format, files[1], inputs)[0] - wanted)
        apart = np.abs(reference_outputs(program, inputs)[0] - wanted)
        assert np.mean(error) < 0.05 * np.mean(apart)

    def test_an_empty_mix_is_the_float_model(self, files: tuple[Path, ...]) -> None:
        inputs = images(64, seed=1).inputs
        wanted = reference_outputs(export(small_model()), inputs)[0]
        got = run_model(self.target.format, files[2], inputs)[0]
        assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()

    def test_mixes_come_in_the_order_asked_for(self, files: tuple[Path, ...]) -> None:
        assert files[3] == files[0]
        assert len(set(files)) == 3

    def test_int8_files_are_smaller(self, files: tuple[Path, ...]) -> None:
        full, some, none, _ = (path.stat().st_size for path in files)
        assert full < some < none

    @pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, 5])
    def test_any_number_of_samples_can_be_run(self, files: tuple[Path, ...], count: int) -> None:
        inputs = images(8, seed=1).inputs
        whole = run_model(self.target.format, files[0], inputs)[0]
        part = run_model(self.target.format, files[0], (inputs[0][:count],))[0]
        assert part.dtype == np.float32
        assert np.array_equal(part, whole[:count])

    def test_a_layer_that_is_float_cannot_be_made_int8(
        self, back_end: Format, program: Program, tmp_path: Path
    ) -> None:
        part = mixed(program, self.some)
        with pytest.raises(ConvertError, match="stem"):
            back_end.mixes(part, [frozenset(("stem",))], self.target, tmp_path)
        assert list(tmp_path.rglob("*")) == []

    @pytest.mark.parametrize("part", [0.0, 0.1, 0.5])
    def test_a_file_cut_short_is_told_in_one_line(self, files: tuple[Path, ...], tmp_path: Path, part: float) -> None:
        content = files[0].read_bytes()
        path = tmp_path / files[0].name
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(ArtifactError, match=path.name) as caught:
            run_model(self.target.format, path, images(2, seed=1).inputs)
        assert "\n" not in str(caught.value)
