"""`edgekit tune` as a process of its own, on a tiny project and a real sshd: what the tests of faults break."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from unittest.mock import patch

from edgekit.core.artifact import Artifact, FileEntry, content_id
from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.inventory import add_device
from edgekit.devices.push import install
from edgekit.lab.sshd import Sshd, running_sshd
from edgekit.store.files import sha256_of
from tests.unit.store.nouns import make_artifact

MODEL = """
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(128, 4),
    ).eval()
"""
DATA = """
import numpy as np


def samples():
    return np.random.default_rng(0).normal(size=(16, 1, 8, 8)).astype(np.float32)
"""
PROJECT = """
schema = 1
name = "tiny"
[model]
source = "model.py:net"
shape = [1, 1, 8, 8]
[data]
calibration = "data.py:samples"
validation = "data.py:samples"
test = "data.py:samples"
[metric]
name = "agreement"
max_drop = "50%"
[budget]
pushes = 4
[compress]
width = false
"""
# The device's python3: writes down each job that the agent is given, then runs it.
PYTHON = """#!/bin/sh
exec {python} {folder}/noting.py "$@"
"""
NOTING = """
import io, json, os, runpy, sys

if sys.argv[1] != "-B":
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
job = sys.stdin.read()
with open({log!r}, "a") as log:
    told = json.loads(job)
    log.write(json.dumps([told["job"], sorted(form["id"] for form in told["forms"])]) + "\\n")
sys.stdin, sys.argv = io.StringIO(job), sys.argv[2:]
sys.path.insert(0, sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LONG_S = 120.0
"""More than anything here takes; who waits that long has found a fault."""


class Run:
    """One `edgekit tune` that runs: its lines on stderr so far, and how it ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, list[str]()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()

    def saw(self, beginnings: tuple[str, ...], more: int = 0) -> bool:
        """Waits for a line that begins in one of these ways and `more` lines behind it, or for the last of the ways.

        Whether it came before the process ended.
        """
        deadline = time.monotonic() + LONG_S

        def there() -> bool:
            place = next((i for i, line in enumerate(self.lines) if line.startswith(beginnings)), None)
            return place is not None and (len(self.lines) > place + more or self.lines[-1].startswith(beginnings[-1]))

        while time.monotonic() < deadline:
            with self._news:
                if there():
                    return True
                self._news.wait(0.02)
            if not self._reader.is_alive():
                return there()
        raise TimeoutError(f"none of {beginnings} within {LONG_S:g} s: {self.lines[-3:]}")

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, and to no child of it."""
        self.process.send_signal(number)

    def end(self) -> int:
        """The exit code; all of stderr is in `lines` then."""
        code = self.process.wait(LONG_S)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    @property
    def said(self) -> list[str]:
        """The lines that are not progress."""
        return [line for line in self.lines if line.startswith(("edgekit: ", "Traceback", "  File"))]


class Tuning:
    """A project, edgekit's home and a device's root below one folder, and what is known of them from outside.

    An old version of the model is installed on the device before anything else.
    """

    def __init__(self, folder: Path, server: Sshd, *, home: Path | None = None, root: Path | None = None) -> None:
        self.folder, self.server = folder, server
        self.home, self.root = home or folder / "home", root or folder / "root"
        self.scratch = folder / "tmp"
        for made in (folder / "project", self.scratch, self.home):
            made.mkdir(parents=True, exist_ok=True)
        (folder / "project" / "model.py").write_text(MODEL)
        (folder / "project" / "data.py").write_text(DATA)
        (folder / "project" / "project.toml").write_text(PROJECT)
        (folder / "noting.py").write_text(NOTING.format(log=str(folder / "jobs")))
        (folder / "python").write_text(PYTHON.format(python=sys.executable, folder=folder))
        (folder / "python").chmod(0o755)
        self.device: Device = server.device(self.root, python=str(folder / "python"))
        with patch.dict(os.environ, EDGEKIT_HOME=str(self.home)):
            add_device(self.device)
        self.old: Artifact = make_artifact(folder / "old", name="tiny")
        with connect(self.device) as transport:
            install(transport, self.device, self.old, folder / "old")

    def start(self) -> Run:
        """`edgekit tune`, running."""
        settings = {
            "EDGEKIT_HOME": str(self.home), "TMPDIR": str(self.scratch), "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",  # a small net is slower on more, and far slower beside other tests
        }  # fmt: skip
        words = (sys.executable, "-P", "-m", "edgekit.cli.main", "tune", "project.toml", "--device", "board", "--json")
        with (self.folder / "out").open("wb") as out:
            process = subprocess.Popen(
                words, cwd=self.folder / "project", env=os.environ | settings, stdout=out, stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL, text=True,
            )  # fmt: skip
        return Run(process)

    def finish(self) -> Run:
        """The same command, to its end, which must be a good one."""
        run = self.start()
        assert run.end() == 0, run.lines
        return run

    # What is kept

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows of the ledger, read without edgekit."""
        if not (self.home / "ledger.db").exists():
            return []
        with closing(sqlite3.connect(self.home / "ledger.db")) as ledger:
            return ledger.execute(query).fetchall()

    def jobs(self) -> list[tuple[str, frozenset[str]]]:
        """What the agent was given so far: each job, and the forms in it."""
        path = self.folder / "jobs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(kind, frozenset(forms)) for kind, forms in map(json.loads, lines)]

    def report(self) -> dict[str, object]:
        """What the last run printed."""
        return json.loads((self.folder / "out").read_text())  # type: ignore[no-any-return]

    # What is on the device

    def active(self) -> str:
        """The artifact that a program on the device would load now: whole, or it would have another id."""
        current = self.root / "models" / "tiny" / "current"
        folder = current.resolve(strict=True)
        paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        entries = tuple(
            FileEntry(path=path, sha256=sha256_of(folder / path), size_bytes=(folder / path).stat().st_size)
            for path in sorted(paths)
            if path != ".manifest"
        )
        assert folder.name.endswith(f"-{content_id(entries)}"), f"{folder.name} is not whole: {paths}"
        return content_id(entries)

    def left_on_device(self) -> list[str]:
        """What measuring left there."""
        found = (path for kind in ("bench", "incoming", "agent") for path in self.root.glob(f"{kind}/*"))
        return sorted(str(path.relative_to(self.root)) for path in found)

    def strays(self) -> list[str]:
        """The command lines of processes that work for this tuning: on the device, or children on the host."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.root) in line or str(self.scratch) in line:
                found.append(line)
        return found

    def wait_until(self, true: Callable[[], bool], what: str) -> None:
        """Waits for what must come true by itself."""
        deadline = time.monotonic() + LONG_S
        while not true():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)


@contextmanager
def a_tuning(folder: Path, **changes: Path) -> Iterator[Tuning]:
    """A tuning with an sshd of its own."""
    with running_sshd(folder / "sshd") as server:
        yield Tuning(folder, server, **changes)
