"""Everything that can be wrong about what a user gives, typed as commands: one line, its exit code, nothing left."""

import sys
from pathlib import Path

import pytest
from disks import small_disk

from edgekit.cli.main import run
from edgekit.devices.inventory import add_device
from edgekit.lab.sshd import Sshd, free_port, write_key
from edgekit.store.home import ledger_url
from edgekit.store.ledger import Ledger

CONVERT = ("convert", "project.toml", "--target", "onnx-x86_64")


def change(project: Path, old: str, new: str) -> None:
    text = project.read_text()
    assert old in text
    project.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"model.py:net"', '"model.py:gated"', ("1 (Gate)", "model.py:", "`return x[x > 0].reshape(1, -1)`")),
        ('"model.py:net"', '"model.py:random"', ("not deterministic", "take out what is random")),
        (
            'validation = "data.py:good"',
            'validation = "data.py:large"',
            ("model tiny: NaN or infinite outputs for", "of data.validation"),
        ),
        ('"agreement"', '"data.py:drifts"', ("metric data.py:drifts is not deterministic", "fix its seed")),
        ('"agreement"', '"data.py:fails"', ("metric data.py:fails", "TypeError")),
        ('"agreement"', '"data.py:f1"', ("data.py has no function 'f1'", "it has")),
        ('"agreement"', '"f1"', ("metric.name", "f1")),
    ],
)
def test_a_project_that_cannot_be_worked_on(project: Path, refused, old: str, new: str, words: tuple[str, ...]) -> None:
    change(project, old, new)
    if "large" in new:
        change(project, '"model.py:net"', '"model.py:log"')
    line = refused(*CONVERT)
    assert all(word in line for word in words), line


def test_a_metric_that_needs_labels_is_refused_before_any_work(project: Path, refused) -> None:
    change(project, '"agreement"', '"accuracy"')
    change(project, 'test = "data.py:good"', 'test = "data.py:unlabelled"')
    assert "data.test (data.py:unlabelled) has no labels" in refused(*CONVERT)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


OLD = """printf '@python {"python": "3.6.9", "libc": "glibc 2.27", "packages": {}}\\n'"""


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ("off", 4, "board: cannot be reached"),
        ("key", 4, "board: the host shows another key"),
        ("user", 4, "board: login refused for nobody-here@127.0.0.1"),
        ("stranger", 4, "board: login refused for"),
        ("no python", 10, "board: no Python"),
        ("old python", 10, "board: Python 3.6.9 is too old: 3.8 or newer"),
        ("no runtime", 10, "`edgekit devices prepare board --runtime onnxruntime` brings it"),
    ],
)
def test_a_device_that_cannot_be_used(
    project: Path, refused, sshd: Sshd, tmp_path: Path, wrong: str, code: int, words: str
) -> None:
    root = tmp_path / "root"
    changes: dict[str, dict[str, object]] = {
        "off": {"port": free_port()},
        "key": {"host_keys": (write_key(tmp_path / "other"),)},
        "user": {"user": "nobody-here"},
        "stranger": {"identity": str(tmp_path / "stranger")},
        "no python": {"python": str(tmp_path / "none")},
        "old python": {"python": script(tmp_path / "old", OLD)},
        "no runtime": {"python": script(tmp_path / "bare", f'exec {sys.executable} -S "$@"')},
    }
    write_key(tmp_path / "stranger")
    add_device(sshd.device(root, **changes[wrong]))
    assert words in refused("tune", "project.toml", "--device", "board", code=code)
    with Ledger(ledger_url()) as ledger:
        assert ledger.studies() == ()
    assert not list(root.rglob("*.onnx"))


def test_debug_shows_where_it_came_from(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(project, "pushes = 4", "puhses = 4")
    assert run(["convert", "project.toml", "--target", "onnx-x86_64", "--debug"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "puhses" in said.splitlines()[-1]


OLDER = """
import onnxruntime


def refuse(*_, **__):
    raise RuntimeError("Unsupported model IR version: 10, max supported IR version: 9")


onnxruntime.InferenceSession = refuse
"""


def test_a_runtime_that_refuses_the_model_is_quoted_and_nothing_stays_there(
    project: Path, sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "sitecustomize.py").write_text(OLDER)
    python = script(tmp_path / "python", f'PYTHONPATH={tmp_path}/older:$PYTHONPATH exec {sys.executable} "$@"')
    root = tmp_path / "root"
    add_device(sshd.device(root, python=python))
    assert run(["tune", "project.toml", "--device", "board"]) == 10
    said = capsys.readouterr().err
    assert "Traceback" not in said
    line = said.splitlines()[-1]
    assert line.startswith("edgekit: ")
    assert "Unsupported model IR version: 10" in line
    assert not list(root.rglob("*.onnx"))
    assert not Path("report.html").exists()


@pytest.mark.parametrize("room", ["16k", "200k"])
def test_a_device_without_room_is_said_to_be_full(
    project: Path, sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str], room: str
) -> None:
    with small_disk(tmp_path / "disk", room) as disk:
        add_device(sshd.device(disk / "root"))
        assert run(["tune", "project.toml", "--device", "board"]) == 8
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert said.splitlines()[-1].startswith("edgekit: board: ")
        assert not list(disk.rglob("*.onnx"))
