"""`edgekit convert` for a DPU: no compiler, no artifact; with one, the .xmodel with all that goes with it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., str]
TARGET = "vitis_ai-dpuczdx8g-b4096"
SAID = Path(__file__).parents[2] / "golden" / "vai_c_xir" / "synthetic_compiled.txt"


@pytest.fixture
def on_the_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.delenv("EDGEKIT_VITIS_AI_IMAGE", raising=False)
    return folder


def test_without_a_compiler_nothing_is_packaged_and_with_one_all_that_belongs_together(
    project: Path, said: Call, refused: Call, on_the_path: Path
) -> None:
    assert "no vai_c_xir on the PATH, so no .xmodel: run edgekit inside AMD's" in refused(
        "convert", "project.toml", "--target", TARGET, code=10
    )
    assert json.loads(said("artifacts", "list", "--json")) == []
    compiler = on_the_path / "vai_c_xir"
    compiler.write_text(f'#!/bin/sh\ncat {SAID}\ncp "$2" "$6/$8.xmodel"\n')
    compiler.chmod(0o755)
    Path("dpu.xclbin").write_bytes(b"overlay")
    assert "--overlay: dpu.dtbo: no such file" in refused(
        "convert", "project.toml", "--target", TARGET, "--overlay", "dpu.dtbo"
    )
    words = said("convert", "project.toml", "--target", TARGET, "--overlay", "dpu.xclbin")
    assert "verified on this computer but for what the compiler made of it, which was not run here" in words
    [made] = json.loads(said("artifacts", "list", "--json"))
    assert made["model_file"] == "model.xmodel"
    assert {entry["path"] for entry in made["files"]} == {"model.xmodel", "model.onnx", "vectors.npz", "dpu.xclbin"}
    assert "no back end for format vitis_ai" not in said("targets", "list")
    doctor = {check["what"]: check for check in json.loads(said("doctor", "--no-reach", "--json"))}
    assert doctor["vai_c_xir"]["found"] == str(compiler)
    assert doctor["format vitis_ai"]["state"] == "ok"
