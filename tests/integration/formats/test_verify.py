from pathlib import Path

import numpy as np
import pytest
from nets import AFFINE, ONNX_X86, net, noise

from edgekit.compress.quantize import quantize
from edgekit.core.artifact import Artifact
from edgekit.core.recipe import Quantize
from edgekit.errors import ArtifactError
from edgekit.formats.child import run_model
from edgekit.formats.onnx import FORMAT
from edgekit.formats.pack import package
from edgekit.formats.verify import verify
from edgekit.models.data import Samples
from edgekit.models.program import export


@pytest.fixture
def made(tmp_path: Path) -> tuple[Artifact, Path]:
    program = quantize(net("residual"), Quantize(), AFFINE, noise(16))
    path = FORMAT.lower(program, ONNX_X86, tmp_path / "lowered")
    return package(program, ONNX_X86, path, folder=tmp_path / "a", key="k", name="residual"), tmp_path / "a"


def test_an_artifact_computes_its_test_vectors_exactly(made: tuple[Artifact, Path]) -> None:
    verdict = verify(*made)
    assert verdict.in_steps == (True,)
    assert verdict.worst == (0.0,)
    assert verdict.vectors == 8


def test_a_float_artifact_is_verified_to_rounding(tmp_path: Path) -> None:
    program = export(net("mobile"))
    path = FORMAT.lower(program, ONNX_X86, tmp_path / "lowered")
    verdict = verify(package(program, ONNX_X86, path, folder=tmp_path / "a", key="k", name="m"), tmp_path / "a")
    assert verdict.in_steps == (False,)
    assert verdict.worst[0] < 1e-5


def test_a_changed_file_is_refused(made: tuple[Artifact, Path]) -> None:
    artifact, folder = made
    (folder / artifact.model_file).write_bytes(b"other")
    with pytest.raises(ArtifactError, match="damaged"):
        verify(artifact, folder)


def test_an_artifact_with_the_vectors_of_another_model_is_refused(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    other = quantize(net("residual", seed=9), Quantize(), AFFINE, noise(16))
    path = FORMAT.lower(quantize(net("residual"), Quantize(), AFFINE, noise(16)), ONNX_X86, tmp_path / "x")
    wrong = package(other, ONNX_X86, path, folder=tmp_path / "wrong", key="k", name="wrong")
    with pytest.raises(ArtifactError, match="steps off"):
        verify(wrong, tmp_path / "wrong")


def test_no_calibration_sample_reaches_an_artifact(tmp_path: Path) -> None:
    marker = np.frombuffer(b"EDGEKIT-MARKED-SAMPLE-0123456789" * 32, np.float32)[:256].reshape(1, 1, 16, 16)
    samples = Samples((np.concatenate([noise(15, seed=77).inputs[0], np.nan_to_num(marker)]),))
    program = quantize(net("concat"), Quantize(), AFFINE, samples)
    path = FORMAT.lower(program, ONNX_X86, tmp_path / "lowered")
    package(program, ONNX_X86, path, folder=tmp_path / "a", key="k", name="marked")
    pieces = [row.tobytes() for row in samples.inputs[0].reshape(-1, 16)]
    for file in (tmp_path / "a").iterdir():
        content = file.read_bytes()
        assert not any(piece in content for piece in pieces)
    arrays = np.load(tmp_path / "a" / "vectors.npz")
    assert not any(np.array_equal(v, s) for v in arrays["in_0"] for s in samples.inputs[0])


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 100])
def test_a_file_that_is_no_model_is_an_error_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"bad\.onnx") as caught:
        run_model("onnx", tmp_path / "bad.onnx", noise(1).inputs)
    assert "\n" not in str(caught.value)


def test_a_model_that_takes_too_long_is_ended(made: tuple[Artifact, Path]) -> None:
    artifact, folder = made
    with pytest.raises(ArtifactError, match="no result after"):
        run_model("onnx", folder / artifact.model_file, noise(1).inputs, deadline_s=0.01)


def test_a_model_that_takes_too_much_memory_is_ended(made: tuple[Artifact, Path]) -> None:
    artifact, folder = made
    with pytest.raises(ArtifactError):
        run_model("onnx", folder / artifact.model_file, noise(1).inputs, memory_bytes=50 << 20)
