"""`verify` lets through what computes the host's program, and tells of everything else in one line, whatever it is."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import msgspec
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from nets import ONNX_X86, TFLITE_X86, net, noise

from edgekit.compress.quantize import quantize
from edgekit.compress.relax import mixed
from edgekit.core.artifact import Artifact, content_id
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, ProjectError
from edgekit.formats.base import get_format
from edgekit.formats.child import run_model
from edgekit.formats.onnx import FORMAT
from edgekit.formats.pack import package
from edgekit.formats.vectors import read_vectors
from edgekit.formats.verify import Verdict, verify
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from edgekit.models.program import Program, export

TARGETS = {"onnx": ONNX_X86, "tflite": TFLITE_X86}


def int8(model: Model, target: Target = ONNX_X86) -> Program:
    return quantize(model, Quantize(), target.numerics, noise(16))


def lower(program: Program, target: Target, folder: Path) -> Path:
    return get_format(target.format).lower(program, target, folder)


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


@pytest.fixture(scope="module")
def program(target: Target) -> Program:
    return int8(net("residual"), target)


@pytest.fixture(scope="module")
def model_file(program: Program, target: Target, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lower(program, target, tmp_path_factory.mktemp("lowered"))


@pytest.fixture
def made(program: Program, target: Target, model_file: Path, tmp_path: Path) -> tuple[Artifact, Path]:
    return package(program, target, model_file, folder=tmp_path / "a", key="k", name="residual"), tmp_path / "a"


def replaced(artifact: Artifact, folder: Path, name: str, content: bytes) -> tuple[Artifact, Path]:
    """`artifact` as a forger would make it: another file in place, and its hash and the id right."""
    from edgekit.store.files import sha256_of

    (folder / name).write_bytes(content)
    files = tuple(
        msgspec.structs.replace(f, sha256=sha256_of(folder / name), size_bytes=len(content)) if f.path == name else f
        for f in artifact.files
    )
    return msgspec.structs.replace(artifact, files=files, id=content_id(files)), folder


def test_an_artifact_computes_its_test_vectors_exactly(made: tuple[Artifact, Path]) -> None:
    assert verify(*made) == Verdict(
        worst=(0.0,), rms=(0.0,), differing=(0.0,), cosine=(pytest.approx(1.0),), in_steps=(True,), vectors=8
    )


def test_a_float_artifact_is_verified_to_rounding(tmp_path: Path) -> None:
    program = export(net("mobile"))
    path = lower(program, ONNX_X86, tmp_path / "lowered")
    verdict = verify(package(program, ONNX_X86, path, folder=tmp_path / "a", key="k", name="m"), tmp_path / "a")
    assert verdict.in_steps == (False,)
    assert verdict.worst[0] < 1e-5
    assert not read_vectors(tmp_path / "a" / "vectors.npz").quantized


def test_a_mix_with_a_float_output_is_verified(tmp_path: Path) -> None:
    program = mixed(int8(net("residual")), frozenset(("a.0", "c.0", "d.0")))
    path = lower(program, ONNX_X86, tmp_path / "lowered")
    verdict = verify(package(program, ONNX_X86, path, folder=tmp_path / "a", key="k", name="m"), tmp_path / "a")
    assert verdict.in_steps == (False,)
    assert verdict.worst[0] < 1 / 255


def test_equal_programs_make_equal_artifacts_whatever_they_are_called(
    made: tuple[Artifact, Path], program: Program, target: Target, tmp_path: Path
) -> None:
    path = lower(int8(net("residual"), target), target, tmp_path / "again")
    other = package(program, target, path, folder=tmp_path / "b", key="other", name="other")
    assert other.id == made[0].id
    assert (other.key, other.requires, other.inputs) == ("other", target.requires, program.spec.inputs)


def test_the_samples_that_the_user_names_are_the_vectors(
    program: Program, target: Target, model_file: Path, tmp_path: Path
) -> None:
    named = noise(5, seed=8)
    artifact = package(program, target, model_file, folder=tmp_path, key="k", name="n", samples=named)
    assert np.array_equal(read_vectors(tmp_path / "vectors.npz").inputs[0], named.inputs[0])
    assert verify(artifact, tmp_path).vectors == 5
    with pytest.raises(ProjectError, match=r"data\.vectors"):
        package(program, target, model_file, folder=tmp_path / "x", key="k", name="n", samples=noise(2, size=8))
    assert not (tmp_path / "x").exists()


def test_a_changed_file_is_refused(made: tuple[Artifact, Path]) -> None:
    artifact, folder = made
    (folder / artifact.model_file).write_bytes(b"other")
    with pytest.raises(ArtifactError, match="damaged"):
        verify(artifact, folder)


@pytest.mark.parametrize("path", ["../out.npz", "/etc/passwd", "a/../../x", "artifact.json"])
def test_a_file_outside_the_folder_is_never_read(path: str, made: tuple[Artifact, Path]) -> None:
    from edgekit.core.noun import to_json
    from edgekit.store.artifacts import read_artifact

    artifact, folder = made
    files = (*artifact.files[:1], msgspec.structs.replace(artifact.files[1], path=path))
    (folder / "artifact.json").write_bytes(to_json(msgspec.structs.replace(artifact, files=files, vectors=path)))
    with pytest.raises(ArtifactError, match="must stay inside the folder"):
        read_artifact(folder)


def test_a_link_in_place_of_a_file_is_refused(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    artifact, folder = made
    (folder / "vectors.npz").rename(tmp_path / "elsewhere.npz")
    (folder / "vectors.npz").symlink_to(tmp_path / "elsewhere.npz")
    with pytest.raises(ArtifactError, match=r"vectors\.npz: missing"):
        verify(artifact, folder)


def _bias(module: Any) -> None:
    module.d[1].bias += 0.3


def _scale(module: Any) -> None:
    module.a[1].weight *= 1.2


def _channel(module: Any) -> None:
    module.c[0].weight[3] = 0


def _order(module: Any) -> None:
    module.down[0].weight.copy_(module.down[0].weight.flip(1))


@pytest.mark.parametrize("change", [_bias, _scale, _channel, _order])
def test_one_layer_that_computes_something_else_is_found(change: Callable[[Any], None], tmp_path: Path) -> None:
    """The file of a net of which one layer has another bias, scale, channel or order than the vectors' net."""
    right, wrong = net("residual"), net("residual")
    with torch.no_grad():
        change(wrong.module)
    path = lower(int8(capture(wrong.module, wrong.example, "wrong")), ONNX_X86, tmp_path / "lowered")
    artifact = package(int8(right), ONNX_X86, path, folder=tmp_path / "a", key="k", name="wrong")
    with pytest.raises(
        ArtifactError, match=r"wrong: output 0 is up to .* steps off, RMS .*want at most 2 and RMS 0\.3"
    ):
        verify(artifact, tmp_path / "a")


@pytest.mark.parametrize(("form", "suffix"), [("onnx", "onnx"), ("tflite", "tflite")])
def test_no_calibration_sample_reaches_an_artifact(form: str, suffix: str, tmp_path: Path) -> None:
    """Every byte of the folder is searched for 32 bytes of any calibration sample; the model's example is one too."""
    marked = np.frombuffer(b"EDGEKIT-MARKED-SAMPLE-0123456789" * 32, np.uint8).astype(np.float32).reshape(4, 1, 16, 16)
    samples = Samples((np.concatenate([noise(15, seed=77).inputs[0], marked / 100]),))
    model = net("concat")
    model = capture(model.module, (torch.from_numpy(samples.inputs[0][-1:]),), "marked")
    program = quantize(model, Quantize(), TARGETS[form].numerics, samples)
    path = lower(program, TARGETS[form], tmp_path / "lowered")
    package(program, TARGETS[form], path, folder=tmp_path / "a", key="k", name="marked")
    found = {file.name: file.read_bytes() for file in (tmp_path / "a").rglob("*") if file.is_file()}
    assert set(found) == {f"model.{suffix}", "vectors.npz", "layers.npz", "artifact.json"}
    with np.load(tmp_path / "a" / "layers.npz") as archive:
        found |= {name: archive[name].tobytes() for name in archive.files}
    pieces = [row.tobytes() for row in samples.inputs[0].reshape(-1, 8)]
    levels = [np.rint(row * 100).astype(np.uint8).tobytes() for row in samples.inputs[0][-4:].reshape(-1, 16)]
    for content in found.values():
        assert not any(piece in content for piece in (*pieces, *levels))
    np.savez(tmp_path / "leak.npz", in_0=samples.inputs[0][-1:])
    assert any(piece in (tmp_path / "leak.npz").read_bytes() for piece in pieces)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(range(256)) * 100])
@pytest.mark.parametrize("form", TARGETS)
def test_a_file_that_is_no_model_is_an_error_in_one_line(form: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad.model").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"bad\.model") as caught:
        run_model(form, tmp_path / "bad.model", noise(1).inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(8))
def test_a_forged_file_is_refused_or_harmless_and_never_takes_us_down(seed: int, made: tuple[Artifact, Path]) -> None:
    """Bytes changed at random, hashes right: whatever the runtime does, verify tells in one line."""
    artifact, folder = made
    draw = random.Random(seed)
    content = bytearray((folder / artifact.model_file).read_bytes())
    for _ in range(40):
        content[draw.randrange(len(content))] = draw.randrange(256)
    try:
        verdict = verify(*replaced(artifact, folder, artifact.model_file, bytes(content)))
    except ArtifactError as error:
        assert artifact.model_file in str(error) or "residual: output 0" in str(error)
        assert "\n" not in str(error)
    else:
        assert verdict.worst[0] <= 2


def _huge_tflite(content: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for tensor in model.subgraphs[0].tensors:
        if len(tensor.shape) == 4 and tensor.buffer and model.buffers[tensor.buffer].data is None:
            tensor.shape = [1 << 20, 1 << 10, 1 << 10, 1 << 6]
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _huge_onnx(content: bytes) -> bytes:
    model = onnx.load_from_string(content)
    size = onnx.helper.make_tensor("size", onnx.TensorProto.INT64, [1], [1 << 42])
    model.graph.initializer.append(size)
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["size"], ["huge"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("huge", onnx.TensorProto.FLOAT, [1 << 42]))
    return model.SerializeToString()


def test_a_file_that_asks_for_all_memory_is_refused(made: tuple[Artifact, Path], target: Target) -> None:
    artifact, folder = made
    forge = {"tflite": _huge_tflite, "onnx": _huge_onnx}[target.format]
    content = forge((folder / artifact.model_file).read_bytes())
    with pytest.raises(ArtifactError, match=r"needs more than|refuses|RuntimeError") as caught:
        verify(*replaced(artifact, folder, artifact.model_file, content))
    assert "\n" not in str(caught.value)


def test_forged_vectors_are_refused_in_one_line(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    artifact, folder = made
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }".ljust(
        117
    )
    import zipfile

    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.writestr("in_0.npy", header + b"\n")
    for content in ((tmp_path / "v.zip").read_bytes(), b"", b"\x80\x04K\x01."):
        with pytest.raises(ArtifactError, match=r"vectors\.npz") as caught:
            verify(*replaced(artifact, folder, "vectors.npz", content))
        assert "\n" not in str(caught.value)


def test_vectors_of_another_shape_are_refused(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    artifact, folder = made
    arrays = dict(np.load(folder / "vectors.npz"))
    np.savez(tmp_path / "v.npz", **(arrays | {"out_0": arrays["out_0"][:, :3]}))
    with pytest.raises(ArtifactError, match=r"gives outputs of shapes \[\(8, 10\)\], its test vectors \[\(8, 3\)\]"):
        verify(*replaced(artifact, folder, "vectors.npz", (tmp_path / "v.npz").read_bytes()))


def test_outputs_that_are_not_numbers_are_refused(made: tuple[Artifact, Path], tmp_path: Path) -> None:
    artifact, folder = made
    arrays = dict(np.load(folder / "vectors.npz"))
    np.savez(tmp_path / "v.npz", **(arrays | {"out_0": np.full_like(arrays["out_0"], np.nan)}))
    with pytest.raises(ArtifactError, match="output 0 is up to inf steps off"):
        verify(*replaced(artifact, folder, "vectors.npz", (tmp_path / "v.npz").read_bytes()))


def test_a_model_that_takes_too_long_is_ended(model_file: Path, target: Target) -> None:
    with pytest.raises(ArtifactError, match="no result after"):
        run_model(target.format, model_file, noise(1).inputs, deadline_s=0.01)


def test_a_model_with_too_little_memory_is_refused(model_file: Path, target: Target) -> None:
    with pytest.raises(ArtifactError):
        run_model(target.format, model_file, noise(1).inputs, memory_bytes=50 << 20)


def test_running_a_model_needs_no_torch(model_file: Path, target: Target) -> None:
    """A child that only runs a file starts in a fraction of a second."""
    import subprocess
    import sys

    lines = f"""
import sys, numpy
from pathlib import Path
from edgekit.formats.child import run_files
job = {{"format": {target.format!r}, "paths": [{str(model_file)!r}], "threads": 1, "rows": []}}
run_files(job, {{"in_0": numpy.zeros((1, 1, 16, 16), "f")}})
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", lines], check=False).returncode == 0


def test_onnx_is_lowered_by_the_entry_points_own_object() -> None:
    assert get_format("onnx") is FORMAT
