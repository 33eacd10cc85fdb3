"""`edgekit devices lock` and `unlock`, and what the commands that measure or install do where somebody else is."""

import json
from pathlib import Path

import pytest

from edgekit.cli.main import run
from edgekit.devices.inventory import add_device
from edgekit.lab.sshd import Sshd


@pytest.fixture
def board(sshd: Sshd, tmp_path: Path) -> str:
    add_device(sshd.device(tmp_path / "root"))
    return "board"


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must end with this code; the last line of what it says of that."""

    def call(code: int, *words: str) -> str:
        got = run(words)
        out, err = capsys.readouterr()
        assert got == code, (out, err)
        return (err or out).splitlines()[-1]

    return call


def test_a_locked_device_is_shown_as_such_and_given_back(said, board: str) -> None:
    told = json.loads(said("devices", "lock", board, "--for", "2h", "--reason", "new kernel", "--json"))
    assert told["holder"]["reason"] == "new kernel"
    assert told["holder"]["left_s"] == 7200
    assert "locked by" in said("devices", "lock", board, "--for", "1m")
    assert "free; it was locked by" in said("devices", "unlock", board)
    assert "nobody had it" in said("devices", "unlock", board)
    assert json.loads(said("devices", "unlock", board, "--json")) == {"device": board, "freed": []}


def test_what_would_change_a_device_that_somebody_else_has_ends_with_code_6_and_says_who(
    said, line, board: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said("devices", "lock", board, "--reason", "new kernel")
    monkeypatch.setenv("LOGNAME", "bob")
    for words in (
        ("devices", "lock", board),
        ("devices", "unlock", board),
        ("devices", "prepare", board),
        ("devices", "remove", board, "--purge"),
        ("gc", "--device", board),
    ):
        told = line(6, *words)
        assert "(new kernel)" in told
        assert f"edgekit devices unlock {board} --force" in told
    assert "waiting" not in line(6, "devices", "prepare", board)
    assert "python" in said("devices", "probe", board), "to look is free"
    assert "free" in said("devices", "unlock", board, "--force")
    assert "works" in said("devices", "prepare", board)


def test_who_waits_is_told_for_whom(said, line, board: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    said("devices", "lock", board, "--for", "2s")
    monkeypatch.setenv("LOGNAME", "bob")
    assert run(["devices", "lock", board, "--wait", "60s"]) == 0
    out, err = capsys.readouterr()
    assert "board is locked by" in err
    assert "waiting" in err
    assert "locked by bob@" in out


def test_tuning_on_a_device_that_somebody_else_has_ends_with_code_6_and_ones_own_lock_does_not_hinder(
    said, line, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    said("devices", "lock", "local", "--reason", "mine")
    with monkeypatch.context() as other:
        other.setenv("LOGNAME", "bob")
        assert "local: locked by" in line(6, "tune", "project.toml")
    assert json.loads(said("tune", "project.toml", "--json"))["choice"]


@pytest.mark.parametrize(
    "words",
    [
        ("devices", "lock", "local", "--for", "soon"),
        ("devices", "lock", "local", "--for", "0s"),
        ("devices", "lock", "local", "--for", "8d"),
        ("devices", "lock", "local", "--wait", "-1s"),
        ("devices", "prepare", "local", "--wait", "10"),
        ("devices", "lock", "nope"),
    ],
)
def test_what_is_no_time_or_no_device_is_refused(line, words: tuple[str, ...], edgekit_home: Path) -> None:
    assert line(2, *words).startswith("edgekit: ")
    assert not (edgekit_home / "local").exists()
