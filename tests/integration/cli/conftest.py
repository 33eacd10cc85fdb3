"""A small project to run commands on, in process, and what they say."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.cli.main import run

MODEL = """
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(128, 4),
    ).eval()


class Branches(torch.nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def branches():
    return Branches()


class Nan(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1) / 0.0 * 0.0


def nan():
    return Nan()


class Gate(torch.nn.Module):
    def forward(self, x):
        return x[x > 0].reshape(1, -1)


def gated():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), Gate())


class Log(torch.nn.Module):
    def forward(self, x):
        return torch.log(x.mean((2, 3)) + 1.0)


def log():
    return torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), Log())


class Random(torch.nn.Module):
    def forward(self, x):
        return x.flatten(1) + torch.rand(64)


def random():
    return Random()


def number():
    return 3


def broken():
    raise RuntimeError("no weights today")
"""

DATA = """
import numpy as np

INPUTS = np.random.default_rng(0).normal(size=(64, 1, 8, 8)).astype(np.float32)
LABELS = INPUTS.reshape(64, -1)[:, :4].argmax(1)


def good():
    return INPUTS, LABELS


def empty():
    return INPUTS[:0], LABELS[:0]


def wrong_shape():
    return INPUTS[:, :, :5], LABELS


def not_a_number():
    return INPUTS * np.nan, LABELS


def unlabelled():
    return INPUTS


def large():
    return INPUTS * 1e3, LABELS


CALLS = []


def drifts(outputs, labels):
    CALLS.append(1)
    return float(len(CALLS))


def fails():
    raise OSError("no such disk")
"""

PROJECT = """
schema = 1
name = "tiny"
[model]
source = "model.py:net"
shape = [1, 1, 8, 8]
[data]
calibration = "data.py:good"
validation = "data.py:good"
test = "data.py:good"
[metric]
name = "agreement"
max_drop = "50%"
[budget]
pushes = 4
minutes = 2
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    (folder / "data.py").write_text(DATA)
    (folder / "project.toml").write_text(PROJECT)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return folder / "project.toml"


Call = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command that must end with this code; what it prints."""

    def call(*words: str, code: int = 0) -> str:
        got = run(words)
        out, err = capsys.readouterr()
        assert got == code, err
        return out

    return call


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], edgekit_home: Path) -> Call:
    """Runs a command that must be refused as usage; its one line. No file is left in the project or the store."""

    def call(*words: str, code: int = 2) -> str:
        before = set(Path().rglob("*"))
        got = run(words)
        out, err = capsys.readouterr()
        *progress, line = err.splitlines()
        assert (got, out, line[:9]) == (code, "", "edgekit: "), (got, out, err)
        assert all(re.match(r"(load|device|compile|evaluate): \S", text) for text in progress), err
        assert set(Path().rglob("*")) == before
        assert not list(edgekit_home.glob("artifacts/content/*"))
        return line

    return call
