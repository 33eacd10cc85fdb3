"""`edgekit convert` for Coral's Edge TPU: no compiler, no artifact; with one, what it made, said not to have run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., str]
TARGET = "tflite-edgetpu"
SAID = Path(__file__).parents[2] / "golden" / "edgetpu_compiler" / "synthetic_16_0_project.txt"


@pytest.fixture
def on_the_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_without_a_compiler_nothing_is_packaged_and_with_one_it_says_what_was_not_run(
    project: Path, said: Call, refused: Call, on_the_path: Path
) -> None:
    assert "no edgetpu_compiler on the PATH, so no file for the Edge TPU: install Coral's edgetpu-compiler" in refused(
        "convert", "project.toml", "--target", TARGET, code=10
    )
    assert json.loads(said("artifacts", "list", "--json")) == []
    compiler = on_the_path / "edgetpu_compiler"
    compiler.write_text(f'#!/bin/sh\ncat {SAID}\nprintf edgetpu-custom-op > "$7/model_edgetpu.tflite"\n')
    compiler.chmod(0o755)
    words = said("convert", "project.toml", "--target", TARGET)
    assert "verified on this computer but for what the compiler made of it, which was not run here" in words
    assert "edgetpu_compiler 16.0.384591198 put 6 operators on the Edge TPU; the processor runs 1 QUANTIZE" in words
    [made] = json.loads(said("artifacts", "list", "--json"))
    assert made["model_file"] == "model_edgetpu.tflite"
    assert "packaged, not run" in said("check", made["id"][:8])
    doctor = {check["what"]: check for check in json.loads(said("doctor", "--no-reach", "--json"))}
    assert doctor["edgetpu_compiler"]["found"] == str(compiler)
    assert "compiled for edgetpu" in said("targets", "show", TARGET)
    assert "no edgetpu is run here" in said("doctor", "--target", TARGET, "--no-reach")
