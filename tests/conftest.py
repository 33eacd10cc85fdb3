"""What tests share: a home of their own for edgekit, and a real sshd on loopback."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Before numpy and torch: two tests run at a time on two cores, and what they start inherits it. With two threads for
# each, most of the processors' time went into threads that waited for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from edgekit.lab.sshd import Sshd, running_sshd

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # `make test &` in a script: what is tested inherits it
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("default", derandomize=True)
settings.register_profile("explore", max_examples=500)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def edgekit_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own store, ledger and inventory; the user's are never read."""
    home = tmp_path / "edgekit-home"
    monkeypatch.setenv("EDGEKIT_HOME", str(home))
    monkeypatch.delenv("EDGEKIT_LEDGER", raising=False)
    return home


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A healthy sshd for many tests: leave it healthy."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A healthy sshd with busybox, and nothing else, for programs."""
    folder = tmp_path_factory.mktemp("busybox")
    subprocess.run(["busybox", "--install", "-s", str(folder)], check=True)
    with running_sshd(tmp_path_factory.mktemp("board"), path=str(folder)) as server:
        yield server


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd for one test, which may break it."""
    with running_sshd(tmp_path / "own-sshd") as server:
        yield server
