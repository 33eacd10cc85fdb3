"""A file for Coral's Edge TPU: its rules are kept or named, and the user's compiler maps it, or there is none.

Here a stand-in says what the compiler says.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import net, noise
from torch import nn

from edgekit.bench.check import check_on_host
from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Quantize
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.child import run_model
from edgekit.formats.compilers import EDGETPU
from edgekit.formats.edgetpu.compiler import compile_edgetpu, read_said
from edgekit.formats.edgetpu.ops import mapped_layers
from edgekit.formats.edgetpu.rewrite import rewritten
from edgekit.formats.pack import extend, package
from edgekit.formats.tflite import FORMAT
from edgekit.formats.tflite_ops import read_ops
from edgekit.formats.verify import verify
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program

GOLDEN = Path(__file__).parents[2] / "golden" / "edgetpu_compiler"
TARGET = get_target("tflite-edgetpu")
MADE = 'printf "edgetpu-custom-op" > "$7/model_edgetpu.tflite"'
"""`-s -m 14 -t 60 -o FOLDER model.tflite`"""


class Stem(nn.Module):
    """A padded max pool behind a ReLU, and an average of 7 by 7: ops that the Edge TPU has not, as they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.next, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 3, 2, 1)
        return self.head(torch.relu(self.next(x)).mean((2, 3)))


class Wrong(nn.Module):
    """A hard swish between two layers, or behind both."""

    def __init__(self, *, between: bool) -> None:
        super().__init__()
        self.first, self.swish, self.second = nn.Conv2d(1, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 3)
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.between:
            return self.second(self.swish(self.first(x)))
        return self.swish(self.second(torch.relu(self.first(x))))


def captured(module: nn.Module, *shape: int) -> Model:
    torch.manual_seed(0)
    return capture(module.eval(), (torch.randn(*shape),), type(module).__name__)


def int8(model: Model, step: Quantize | None = None) -> Program:
    size = model.spec.inputs[0].shape[1:]
    return quantize(model, step or Quantize(), TARGET.numerics, noise_of(16, size))


def noise_of(count: int, size: tuple[int, ...]) -> Samples:
    return Samples((np.random.default_rng(1).standard_normal((count, *size)).astype(np.float32),))


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    program = quantize(net("residual"), Quantize(), TARGET.numerics, noise(16))
    return program, FORMAT.lower(program, TARGET, tmp_path_factory.mktemp("residual"))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def compiler_that_says(folder: Path, golden: str, more: str = MADE) -> str:
    path = folder / "edgetpu_compiler"
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\ncat {GOLDEN / golden}\n{more}\n")
    path.chmod(0o755)
    return EDGETPU.need()


def test_an_int8_file_is_whole_on_the_edge_tpu_and_computes_what_the_program_does(
    residual: tuple[Program, Path],
) -> None:
    program, path = residual
    assert mapped_layers(path.read_bytes(), 14) == ((), 7)
    inputs = noise(64, seed=1).inputs
    got, wanted = run_model("tflite", path, inputs)[0], reference_outputs(program, inputs)[0]
    assert not np.rint((got - wanted) / output_steps(program)[0]).any()


def test_ops_that_the_edge_tpu_has_not_become_ones_that_it_has_with_the_same_result(tmp_path: Path) -> None:
    program = int8(captured(Stem(), 1, 3, 14, 14))
    path = FORMAT.lower(program, TARGET, tmp_path)
    kinds = [op.name for op in read_ops(path.read_bytes())]
    assert "PADV2" not in kinds
    assert kinds.count("TRANSPOSE") == 1  # of the model's input
    assert rewritten(path.read_bytes()) == path.read_bytes()
    inputs = noise_of(32, (3, 14, 14)).inputs
    got, wanted = run_model("tflite", path, inputs)[0], reference_outputs(program, inputs)[0]
    assert not np.rint((got - wanted) / output_steps(program)[0]).any()


@pytest.mark.parametrize(
    ("model", "step", "said"),
    [
        (captured(Wrong(between=True), 1, 1, 8, 8), Quantize(),
         r"Wrong, swish.*: (op HARD_SWISH|type of MUL|op DIV).*the Edge TPU has"),
        pytest.param(captured(Wrong(between=False), 2, 1, 8, 8), Quantize(),
                     r"2x.*sizes above 1 in the last 3.*batch of 1", marks=pytest.mark.slow),
        pytest.param(captured(Wrong(between=False), 1, 1, 8, 8), Quantize(layers=(("first", "fp32"),)),
                     r"first: type of \w+ FLOAT32, the Edge TPU has int8 only", marks=pytest.mark.slow),
        pytest.param(captured(Wrong(between=False), 1, 1, 8, 8), Quantize(default="fp32"),
                     r"none of its layers is int8", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_what_cuts_int8_layers_off_is_named_with_a_limit_and_a_rewrite(
    model: Model, step: Quantize, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConvertError, match=said) as caught:
        FORMAT.lower(int8(model, step), TARGET, tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_comes_behind_the_last_int8_layer_is_left_to_the_processor(tmp_path: Path) -> None:
    path = FORMAT.lower(int8(captured(Wrong(between=False), 1, 1, 8, 8)), TARGET, tmp_path)
    assert mapped_layers(path.read_bytes(), 14) == ((), 2)


def test_without_a_compiler_there_is_no_file_and_the_error_says_what_brings_one(bench: Path) -> None:
    with pytest.raises(ConvertError, match=r"no edgetpu_compiler on the PATH, so no file for the Edge TPU: install"):
        EDGETPU.need()


@pytest.mark.parametrize("golden", ["synthetic_16_0_float_ends.txt", "synthetic_2_1_all_mapped.txt"])
def test_a_file_that_the_compiler_mapped_goes_with_a_log_that_names_no_path(
    bench: Path, residual: tuple[Program, Path], tmp_path: Path, golden: str
) -> None:
    made, log = compile_edgetpu(residual[1], TARGET, compiler_that_says(bench, golden), tmp_path / "out")
    assert (made.name, log.name) == ("model_edgetpu.tflite", "model_edgetpu.log")
    found = read_said(log.read_text())
    assert found == read_said((GOLDEN / golden).read_text())
    assert found is not None
    assert found.count(mapped=True) == 12
    assert "/" not in log.read_text()


def test_the_compiler_is_told_the_runtime_of_the_target_and_the_deadline(
    bench: Path, residual: tuple[Program, Path], tmp_path: Path
) -> None:
    said = tmp_path / "words"
    compiler = compiler_that_says(bench, "synthetic_2_1_all_mapped.txt", f'echo "$@" > {said}; {MADE}')
    compile_edgetpu(residual[1], TARGET, compiler, tmp_path / "out", deadline_s=60)
    assert re.fullmatch(r"-s -m 14 -t 60 -o \S+/compiled \S+/model.tflite\n", said.read_text())


@pytest.mark.parametrize(
    ("golden", "more", "said"),
    [
        ("synthetic_16_0_op_version.txt", "exit 1", r"failed \(exit status 1\): ERROR: Didn't find op .*'CONV_2D' ver"),
        ("synthetic_15_0_not_quantized.txt", "exit 1", r"failed \(exit status 1\): Model not quantized"),
        ("synthetic_14_1_internal_error.txt", "true", r"made no file: Internal compiler error. Aborting!"),
        ("synthetic_16_0_failed.txt", "true", r"made no file: Compilation failed due to large activation tensors"),
        ("synthetic_14_1_nothing_mapped.txt", 'cp "$8" "$7/model_edgetpu.tflite"', "mapped nothing to the Edge TPU"),
        ("synthetic_16_0_cut.txt", MADE, r"7 layers are int8, and it mapped 5 .*1 RESHAPE \(Operation is otherwise"),
        ("synthetic_2_1_all_mapped.txt", "true", "made no file"),
        ("README.md", MADE, "does not say which operators it mapped"),
        ("README.md", "printf '\\033[31m\\377'; exit 3", r"failed \(exit status 3\): .*\ufffd"),
    ],
)
def test_a_compiler_that_fails_is_told_of_in_one_line(
    bench: Path, residual: tuple[Program, Path], tmp_path: Path, golden: str, more: str, said: str
) -> None:
    compiler = compiler_that_says(bench, golden, more)
    with pytest.raises(ConvertError, match=rf"edgetpu_compiler, for tflite-edgetpu: {said}") as caught:
        compile_edgetpu(residual[1], TARGET, compiler, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_a_compiler_that_hangs_is_ended(bench: Path, residual: tuple[Program, Path], tmp_path: Path) -> None:
    compiler = compiler_that_says(bench, "synthetic_16_0_failed.txt", "sleep 60")
    with pytest.raises(ConvertError, match=r"no file for the Edge TPU after 0.5 s, so it was ended"):
        compile_edgetpu(residual[1], TARGET, compiler, tmp_path / "out", deadline_s=0.5)


def test_counts_that_do_not_fit_the_table_are_not_believed() -> None:
    said = (GOLDEN / "synthetic_16_0_float_ends.txt").read_text()
    assert read_said(said.replace("Edge TPU: 12", "Edge TPU: 13")) is None
    assert (
        read_said(said.replace("\nADD  ", "\nLATER_OP  ").replace("Input model", "Colour: blue\nInput model"))
        is not None
    )


@pytest.fixture
def artifact(bench: Path, residual: tuple[Program, Path], tmp_path: Path) -> tuple[Artifact, Path]:
    program, path = residual
    compiler = compiler_that_says(bench, "synthetic_16_0_float_ends.txt")
    files = compile_edgetpu(path, TARGET, compiler, tmp_path / "out")
    plain = package(program, TARGET, path, folder=tmp_path / "artifact", key="k", name="n")
    return extend(plain, tmp_path / "artifact", files, files[0].name), tmp_path / "artifact"


def test_a_compiled_file_is_proved_by_the_one_it_was_made_of_and_said_not_to_have_run(
    artifact: tuple[Artifact, Path],
) -> None:
    made, folder = artifact
    assert made.model_file == "model_edgetpu.tflite"
    assert {entry.path for entry in made.files} == {
        "model.tflite", "vectors.npz", "model_edgetpu.tflite", "model_edgetpu.log",
    }  # fmt: skip
    verdict = verify(made, folder)
    assert verdict.worst == (0.0,)
    words = (
        "edgetpu_compiler 16.0.384591198 put 12 operators on the Edge TPU; the processor runs 1 QUANTIZE (Operation is "
        "otherwise supported, but not mapped due to some unspecified limitation), 1 DEQUANTIZE (Operation is working "
        "on an unsupported data type): packaged, not run"
    )
    assert verdict.remarks == (words,)
    checked = check_on_host(made, folder)
    assert checked.is_right
    assert checked.notes == (words,)
    assert sum(row.format is not None for row in checked.rows) >= 7


def test_a_compiled_file_alone_runs_nowhere_here(artifact: tuple[Artifact, Path], tmp_path: Path) -> None:
    _, folder = artifact
    alone = tmp_path / "model_edgetpu.tflite"
    alone.write_bytes((folder / "model_edgetpu.tflite").read_bytes())
    with pytest.raises(ArtifactError, match=r"model_edgetpu.tflite: it is compiled for the Edge TPU, and the file"):
        FORMAT.run(alone, noise(1).inputs)
