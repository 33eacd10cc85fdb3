"""`edgekit check` as it is typed: an id, a folder, a file; what it says and how it ends."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Call

from edgekit.cli.main import run
from edgekit.formats.layers import LAYERS
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

LAYER_ROWS = ["0", "2", "5"]


@pytest.fixture
def converted(project: Path, said: Call) -> str:
    """The id of an int8 artifact in the store."""
    return str(json.loads(said("convert", "project.toml", "--target", "onnx-x86_64", "--json"))["artifact"]["id"])


def test_an_artifact_is_checked_by_id_folder_and_file(
    converted: str, said: Call, refused: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ArtifactStore(artifacts_folder()).folder(converted)
    page = said("check", converted[:12])
    assert [line.split()[0] for line in page.splitlines()[3:6]] == LAYER_ROWS
    assert "right: output 0 at most 0 LSB off, on 8 samples" in page
    found = json.loads(said("check", str(folder), "--json"))
    assert [row["layer"] for row in found["rows"]] == LAYER_ROWS
    assert found["layer"] is None
    shutil.copytree(folder, tmp_path / "out")
    assert said("check", str(tmp_path / "out" / "model.onnx")) == page

    (tmp_path / "out" / LAYERS).unlink()
    assert "no layer table: the artifact has no layer values" in said("check", str(tmp_path / "out"))
    (tmp_path / "out" / "vectors.npz").unlink()
    assert run(["check", str(tmp_path / "out")]) == 10
    assert "vectors.npz: missing" in capsys.readouterr().err

    shutil.copyfile(folder / "model.onnx", tmp_path / "bare.onnx")
    page = said("check", str(tmp_path / "bare.onnx"))
    assert "it runs on this computer" in page
    assert "edgekit did not make this file" in page


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("no", "want an id or its first 4 letters"),
        ("abcdef", "none in"),
        ("./none.onnx", "no such file or folder"),
        ("model.py", "want a model file that ends in"),
    ],
)
def test_what_is_no_artifact_is_refused_in_a_line(project: Path, refused: Call, word: str, line: str) -> None:
    assert line in refused("check", word)


def test_ctrl_c_ends_a_check_and_its_child(converted: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "edgekit.cli.main", "check", converted)
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert running.stderr is not None
    assert running.stderr.readline().startswith("evaluate: ")
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert err == "edgekit: stopped; the same command resumes\n"
