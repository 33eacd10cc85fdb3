"""Each command as someone types it: another process, another folder, a home of its own."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgekit.core.project import project_from_toml

NET = "import torch\n\n\ndef net():\n    return torch.nn.Linear(4, 2)\n"


class Shell:
    """A folder to work in and a home for edgekit, both empty."""

    def __init__(self, tmp_path: Path) -> None:
        self.cwd = tmp_path / "work"
        self.home = tmp_path / "home"
        self.cwd.mkdir()
        self.env = os.environ | {"EDGEKIT_HOME": str(self.home), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "edgekit.cli.main", *words)
        return subprocess.run(
            command, cwd=self.cwd, env=self.env, capture_output=True, text=True, check=False, timeout=120
        )

    def refused(self, *words: str, code: int = 2) -> str:
        """The one line of a command that must be refused; nothing may be left in the working folder."""
        before = self.files()
        done = self(*words)
        assert done.returncode == code, done
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("edgekit: ")
        assert "Traceback" not in done.stderr
        assert self.files() == before
        return done.stderr.strip()

    def files(self) -> set[Path]:
        return set(self.cwd.rglob("*"))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_help_and_version_are_printed(shell: Shell) -> None:
    assert "tune" in shell("--help").stdout
    assert shell().stdout == shell("--help").stdout
    assert shell("--version").stdout.startswith("edgekit ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nope",), "No such command 'nope'"),
        (("tnue", "project.toml"), "'tune'"),
        (("gc", "--nope"), "No such option: --nope"),
        (("gc", "--keep-studies", "x"), "--keep-studies"),
        (("init",), "MODEL"),
        (("targets", "show", "onnx-x86"), "nearest: onnx-x86_64"),
        (("targets", "nope"), "nope"),
        (("init", "missing.py:net"), "missing.py: no such file"),
        (("init", "model.txt"), "want file.py:function"),
    ],
)
def test_what_is_written_wrong_is_one_line_and_exit_code_2(shell: Shell, words: tuple[str, ...], said: str) -> None:
    assert said in shell.refused(*words)


def test_debug_shows_the_traceback_and_the_line(shell: Shell) -> None:
    done = shell("targets", "show", "nope", "--debug")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("edgekit: target 'nope'")


def test_init_writes_a_project_that_reads_and_says_what_it_means(shell: Shell) -> None:
    (shell.cwd / "model.py").write_text(NET)
    done = shell("init", "model.py:net", "--shape", "1,4", "--json")
    assert json.loads(done.stdout) == {"written": ["project.toml", "data.py"]}
    text = (shell.cwd / "project.toml").read_text()
    project = project_from_toml(text, "project.toml")
    assert (project.model.source, project.model.shape) == ("model.py:net", (1, 4))
    assert text.count("#") > 15
    compile((shell.cwd / "data.py").read_text(), "data.py", "exec")


def test_every_key_that_a_new_project_shows_in_a_comment_is_a_real_one(shell: Shell) -> None:
    (shell.cwd / "model.py").write_text(NET)
    shell("init", "model.py:net")
    lines = (shell.cwd / "project.toml").read_text().splitlines()
    shown = [line[2:] if line.startswith("# ") and " = " in line else line for line in lines]
    assert len([1 for a, b in zip(lines, shown, strict=True) if a != b]) >= 5
    project_from_toml("\n".join(shown), "project.toml")
    tomllib.loads("\n".join(shown))


def test_init_overwrites_nothing(shell: Shell) -> None:
    (shell.cwd / "model.py").write_text(NET)
    (shell.cwd / "data.py").write_text("mine = 1\n")
    assert shell("init", "model.py:net").returncode == 0
    assert (shell.cwd / "data.py").read_text() == "mine = 1\n"
    before = (shell.cwd / "project.toml").read_bytes()
    assert "project.toml: exists" in shell.refused("init", "model.py:net")
    assert (shell.cwd / "project.toml").read_bytes() == before


def test_init_names_the_function_that_is_missing_and_those_that_are_there(shell: Shell) -> None:
    (shell.cwd / "model.py").write_text(NET)
    assert "no function 'nte'; it has net, torch" in shell.refused("init", "model.py:nte")
    assert "which function" in shell.refused("init", "model.py")
    assert "want sizes like" in shell.refused("init", "model.py:net", "--shape", "1,x")
    assert "no such folder" in shell.refused("init", "model.py:net", "--folder", "none")
    (shell.cwd / "broken.py").write_text("def net(:\n")
    assert "broken.py: not Python" in shell.refused("init", "broken.py:net")


def test_every_list_is_also_json(shell: Shell) -> None:
    for words in (("targets", "list"), ("artifacts", "list"), ("artifacts", "check"), ("gc",), ("devices", "list")):
        done = shell(*words, "--json")
        assert done.returncode == 0, done
        json.loads(done.stdout)
        assert shell(*words).stdout.strip()


def test_a_reader_that_goes_away_is_met_with_silence(shell: Shell) -> None:
    child = subprocess.Popen(
        (sys.executable, "-c", "import time, edgekit.cli.main as m; time.sleep(0.3); m.main(['targets', 'list'])"),
        cwd=shell.cwd, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait() == 141


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(shell: Shell) -> None:
    patch = (
        "import sys, time, edgekit.store.gc as gc, edgekit.cli.gc, edgekit.cli.main as m\n"
        "def wait(*a, **k):\n    print('working', flush=True); time.sleep(60)\n"
        "edgekit.cli.gc.collect = wait\nm.main(['gc'])"
    )
    child = subprocess.Popen(
        (sys.executable, "-c", patch),
        cwd=shell.cwd, env=shell.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "working\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130
    assert errors == "edgekit: stopped; the same command resumes\n"


def test_a_home_that_cannot_be_made_is_one_line(shell: Shell) -> None:
    shell.home.write_text("a file")
    assert "set EDGEKIT_HOME" in shell.refused("gc", code=10)


def test_doctor_says_what_is_there_and_fails_only_on_what_is_needed(shell: Shell) -> None:
    done = shell("doctor", "--json")
    checks = {c["what"]: c for c in json.loads(done.stdout)}
    assert done.returncode == 0
    assert checks["ledger"]["state"] == "ok"
    assert all(c["fix"] for c in checks.values() if c["state"] != "ok")
    (shell.home / "ledger.db").unlink()
    for extra in shell.home.glob("ledger.db-*"):
        extra.unlink()
    (shell.home / "ledger.db").write_bytes(b"no database" * 200)
    done = shell("doctor")
    assert done.returncode == 1
    assert "not an edgekit ledger" in done.stdout
