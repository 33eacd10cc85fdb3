"""An .xmodel is made by the user's compiler or not at all. Here a stand-in says what the compiler of AMD says."""

import json
import os
import time
from pathlib import Path

import pytest
from nets import net, noise

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.recipe import Quantize
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.compilers import VAI_C_XIR
from edgekit.formats.dpu.xmodel import IMAGE, Compiler, compile_command, compile_xmodel, find_compiler
from edgekit.formats.pack import extend, package
from edgekit.formats.verify import verify
from edgekit.formats.vitis_ai import FORMAT

GOLDEN = Path(__file__).parents[2] / "golden" / "vai_c_xir"
TARGET = get_target("vitis_ai-dpuczdx8g-b3136")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(IMAGE, raising=False)
    return folder


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{text}\n")
    path.chmod(0o755)


def compiler_that_says(folder: Path, golden: str, more: str = "") -> Compiler:
    """It writes what it was given where the real one writes its .xmodel."""
    made = 'cat "$2" "$4" > "$6/$8.xmodel"'
    program(folder, "vai_c_xir", f"cat {GOLDEN / golden}\n{more or made}")
    return VAI_C_XIR.need()


def lowered(folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(b"onnx ")
    return path


def test_without_a_compiler_there_is_no_xmodel_and_the_error_says_what_brings_one(bench: Path) -> None:
    assert find_compiler() is None
    with pytest.raises(ConvertError, match=rf"no vai_c_xir on the PATH, so no .xmodel: run edgekit inside .*{IMAGE}"):
        VAI_C_XIR.need()


def test_docker_is_used_only_for_an_image_that_the_user_names(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bench, "docker", "exit 1")
    assert find_compiler() is None
    monkeypatch.setenv(IMAGE, "xilinx/vitis-ai-pytorch-cpu:latest")
    found = find_compiler()
    assert found == Compiler(program=str(bench / "docker"), image="xilinx/vitis-ai-pytorch-cpu:latest")
    program(bench, "vai_c_xir", "exit 1")
    assert VAI_C_XIR.need().image is None


def test_the_command_line_in_a_container(bench: Path) -> None:
    words = compile_command(Compiler(program="docker", image="vitis:3.0"), Path("/w x"), 60, (1000, 100))
    assert words == (
        "docker", "run", "--rm", "--init", "--pull=never", "--network=none", "--user", "1000:100", "--env", "HOME=/tmp",
        "--env", "USER=edgekit", "--volume", "/w x:/edgekit", "--workdir", "/edgekit", "--entrypoint", "bash",
        "vitis:3.0", "-c",
        ". /opt/vitis_ai/conda/etc/profile.d/conda.sh && conda activate vitis-ai-pytorch && "
        "exec timeout --kill-after=10 60 vai_c_xir -x /edgekit/model.onnx -a /edgekit/arch.json -o /edgekit/compiled "
        "-n model",
    )  # fmt: skip


def test_the_compiler_gets_the_file_and_the_fingerprint_of_the_targets_dpu(bench: Path, tmp_path: Path) -> None:
    compiler = compiler_that_says(bench, "synthetic_compiled.txt")
    [made] = compile_xmodel(lowered(tmp_path), TARGET, compiler, tmp_path / "out")
    assert made.name == "model.xmodel"
    assert json.loads(made.read_bytes().removeprefix(b"onnx ")) == {"fingerprint": "0x101000056010406"}


@pytest.mark.parametrize(
    ("golden", "more", "said"),
    [
        ("synthetic_refused.txt", "exit 134", r"failed \(exit status 134\): \[UNILOG\]\[FATAL\]\[XCOM_DATA_OUTRANGE\]"),
        ("synthetic_compiled.txt", "true", "made no .xmodel"),
        ("synthetic_compiled.txt", ': > "$6/$8.xmodel"', "made no .xmodel"),
        ("synthetic_nothing_on_the_dpu.txt", "", "made 0 subgraphs for the DPU, want 1"),
        ("README.md", "", "does not say how many DPU subgraphs it made"),
        ("README.md", "printf '\\033[31m\\377'; exit 3", r"failed \(exit status 3\): .*\ufffd"),
    ],
)
def test_a_compiler_that_fails_is_told_of_in_one_line(
    bench: Path, tmp_path: Path, golden: str, more: str, said: str
) -> None:
    compiler = compiler_that_says(bench, golden, more)
    with pytest.raises(ConvertError, match=rf"vai_c_xir, for vitis_ai-dpuczdx8g-b3136: {said}") as caught:
        compile_xmodel(lowered(tmp_path), TARGET, compiler, tmp_path / "out")
    assert str(caught.value).isprintable()
    assert not (tmp_path / "out").exists()


def test_a_compiler_that_hangs_is_ended_with_what_it_started(
    bench: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = compiler_that_says(bench, "synthetic_compiled.txt", f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    with pytest.raises(ConvertError, match=r"no .xmodel after 0.5 s, so it was ended"):
        compile_xmodel(lowered(tmp_path), TARGET, compiler, tmp_path / "out", deadline_s=0.5)
    child = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not alive(child):
            break
        time.sleep(0.05)
    assert not alive(child)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_an_xmodel_goes_with_the_file_it_was_made_of_and_its_overlay_all_hashed(tmp_path: Path) -> None:
    program_ = quantize(net("residual"), Quantize(), TARGET.numerics, noise(16))
    source = FORMAT.lower(program_, TARGET, tmp_path / "lowered")
    folder = tmp_path / "artifact"
    plain = package(program_, TARGET, source, folder=folder, key="k", name="n")
    for name in ("model.xmodel", "dpu.bit.bin", "dpu.xclbin"):
        (tmp_path / name).write_bytes(name.encode())
    whole = extend(plain, folder, (tmp_path / "model.xmodel",), "model.xmodel")
    whole = extend(whole, folder, (tmp_path / "dpu.bit.bin", tmp_path / "dpu.xclbin"))
    assert [entry.path for entry in whole.files] == [
        "model.onnx", "vectors.npz", "model.xmodel", "dpu.bit.bin", "dpu.xclbin",
    ]  # fmt: skip
    assert (whole.model_file, whole.size_bytes) == ("model.xmodel", len("model.xmodel"))
    assert whole.id != plain.id
    assert dict(whole.requires)["dpu_fingerprint"] == "0x101000056010406"
    assert verify(whole, folder).worst == (0.0,)
    (folder / "dpu.bit.bin").write_bytes(b"another")
    with pytest.raises(ArtifactError, match=r"dpu.bit.bin: damaged"):
        verify(whole, folder)
    with pytest.raises(ArtifactError, match=r"there is a file model.onnx in it already"):
        extend(whole, folder, (source,))


def test_an_xmodel_alone_runs_nowhere_here(tmp_path: Path) -> None:
    (tmp_path / "net.xmodel").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"net.xmodel: net.onnx, of which it was compiled, is not beside it"):
        FORMAT.run(tmp_path / "net.xmodel", noise(1).inputs)
