"""Whatever a child does, its caller gets an answer or one line, on time, and nothing stays behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import ArtifactError, ConvertError, TargetError
from edgekit.formats.child import call_in_child

WORK = """
import ctypes, os, subprocess, sys, time
from edgekit.errors import TargetError

def double(job, arrays):
    print("to stdout"); os.write(2, b"to stderr")
    return {"plus": job["number"] + 1}, {name: 2 * a for name, a in arrays.items()}

def refuse(job, arrays): raise TargetError("target x: want a, got b")
def fail(job, arrays): raise KeyError("first line\\nsecond line")
def abort(job, arrays): os.write(2, b"INFO: all is well\\nassertion `x` failed\\n"); os.abort()
def segfault(job, arrays): ctypes.string_at(0)
def leave(job, arrays): os._exit(3)
def allocate(job, arrays): return len(bytearray(job["bytes"])), {}
def parent(job, arrays): return os.getppid(), {}

def sleep(job, arrays):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(job["pids"] + ".part", "w") as file: file.write(f"{os.getpid()} {other.pid}")
    os.rename(job["pids"] + ".part", job["pids"])
    time.sleep(60)
    return None, {}
"""


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `childwork` that children can import, and a folder of temporary files of this test alone."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "childwork.py").write_text(WORK)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def gone(pid: int) -> bool:
    """Whether a process has ended; one that is dead and not yet collected counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def soon(condition: Callable[[], bool], within_s: float = 20.0) -> bool:
    end = time.monotonic() + within_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_a_child_gives_back_values_and_arrays_and_says_nothing(capfd: pytest.CaptureFixture[str], work: Path) -> None:
    answer = call_in_child("childwork:double", {"number": 4}, {"a": np.arange(3), "b": np.ones((2, 0))}, what="x")
    assert answer.value == {"plus": 5}
    assert answer.arrays["a"].tolist() == [0, 2, 4]
    assert answer.arrays["b"].shape == (2, 0)
    assert capfd.readouterr() == ("", "")
    assert list((work / "tmp").iterdir()) == []


def test_our_own_errors_come_back_as_they_were_raised() -> None:
    with pytest.raises(TargetError, match=r"^target x: want a, got b$"):
        call_in_child("childwork:refuse", {}, what="x")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("fail", "^net: KeyError: 'first line"),
        ("abort", r"^net: crashed \(SIGABRT\): assertion `x` failed$"),
        ("segfault", r"^net: crashed \(SIGSEGV\)"),
        ("leave", "^net: ended with status 3$"),
        ("nothing", "^net: AttributeError"),
    ],
)
def test_every_other_end_is_one_line_of_the_callers_kind(function: str, said: str, work: Path) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        call_in_child(f"childwork:{function}", {}, what="net", error=ArtifactError)
    assert "\n" not in str(caught.value)
    assert list((work / "tmp").iterdir()) == []


def test_memory_is_bounded() -> None:
    assert call_in_child("childwork:allocate", {"bytes": 1 << 20}, what="net", memory_bytes=2 << 30).value == 1 << 20
    with pytest.raises(ConvertError, match="needs more than 2048 MiB"):
        call_in_child("childwork:allocate", {"bytes": 4 << 30}, what="net", memory_bytes=2 << 30)


def test_a_deadline_ends_the_child_and_what_it_started(work: Path) -> None:
    pids = work / "pids"
    with pytest.raises(ConvertError, match="no result after 5 s"):
        call_in_child("childwork:sleep", {"pids": str(pids)}, what="net", deadline_s=5)
    assert all(soon(lambda pid=pid: gone(int(pid))) for pid in pids.read_text().split())  # type: ignore[misc]
    assert list((work / "tmp").iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_child_outlives_its_caller(how: signal.Signals, work: Path) -> None:
    """Ctrl-C cleans up whole; after kill -9 the child is gone (a helper of its own may not be)."""
    pids = work / "pids"
    call = f"call_in_child('childwork:sleep', {{'pids': {str(pids)!r}}}, what='x')"
    line = f"from edgekit.formats.child import call_in_child; {call}"
    caller = subprocess.Popen([sys.executable, "-c", line], stderr=subprocess.PIPE)
    try:
        assert soon(pids.exists)
        child, other = (int(pid) for pid in pids.read_text().split())
        caller.send_signal(how)
        _, said = caller.communicate(timeout=20)
    finally:
        caller.kill()
        caller.wait()
    assert soon(lambda: gone(child))
    if how is signal.SIGINT:
        assert b"KeyboardInterrupt" in said
        assert soon(lambda: gone(other))
        assert list((work / "tmp").iterdir()) == []
    elif not gone(other):
        os.kill(other, signal.SIGKILL)


def test_a_folder_full_of_modules_does_not_disturb_a_child(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (work / "json.py").write_text("raise SystemExit('wrong json')")
    monkeypatch.chdir(work)
    assert call_in_child("childwork:parent", {}, what="x").value == os.getpid()
