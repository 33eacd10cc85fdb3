"""`edgekit doctor --target`: what this computer can do for one target, and the command that gets what is missing."""

import json
from pathlib import Path

import pytest

from edgekit.catalog import targets
from edgekit.cli.checks import EXTRAS
from edgekit.cli.main import run
from edgekit.cli.target_checks import PROVES


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path))


def doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, str]]]:
    code = run(["doctor", "--target", *words, "--no-reach", "--json"])
    return code, {check["what"]: check for check in json.loads(capsys.readouterr().out)}


@pytest.mark.parametrize("name", [t.name for t in targets()])
def test_every_target_can_be_built_for_or_says_what_is_missing(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, checks = doctor(capsys, name)
    assert checks["target"]["state"] == "ok"
    assert code == (1 if any(check["state"] == "bad" for check in checks.values()) else 0)
    assert all(check["fix"] for check in checks.values() if check["state"] != "ok")


def test_what_can_be_built_here_is_proved_by_its_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = doctor(capsys, "tflite-aarch64")
    assert code == 0
    assert "litert-torch" in checks["build"]["found"]
    assert checks["prove"]["found"] == PROVES["tflite"][1]
    assert checks["devices"]["fix"].startswith("edgekit devices add")


def test_a_package_that_is_not_there_is_named_with_the_command_that_gets_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "onnx", ("onnx", "no-such-package"))
    code, checks = doctor(capsys, "tensorrt-jetson-orin")
    assert code == 1
    assert checks["build"]["found"] == "no no-such-package"
    assert checks["build"]["fix"] == "pip install 'edgekit[tensorrt]'"


def test_an_unknown_target_is_a_usage_error_that_names_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--target", "onnx-x86"]) == 2
    assert "onnx-x86_64" in capsys.readouterr().err
