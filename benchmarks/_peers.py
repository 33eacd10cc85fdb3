"""The tools that edgekit is measured against: an environment for each under .bench/peers, made once, and runs in it."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from _figures import KEPT, say

Steps = Sequence[Sequence[str]]
"""What pip is told to install, call after call: packages, and options of pip's."""
NEVER = "nothing said of why"


def prepare(peers: Mapping[str, Steps]) -> tuple[dict[str, Path], list[str]]:
    """The interpreter of each of these peers that can be had, and a line for each that does not install here."""
    found, missing = {}, []
    for name, steps in peers.items():
        try:
            found[name] = _made(name, steps)
        except subprocess.CalledProcessError as error:
            missing.append(f"{name} does not install here, so it is left out: {last_line(error.stderr)}")
            say(missing[-1])
    return found, missing


def _made(name: str, steps: Steps) -> Path:
    """Raises: subprocess.CalledProcessError."""
    place, holds = KEPT / "peers" / name, "\n".join(" ".join(step) for step in steps)
    python, ready = place / "bin" / "python", place / "ready"
    if not ready.is_file() or ready.read_text() != holds:
        say(f"installing {name}")
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True, text=True)
        for step in steps:
            words = [str(python), "-m", "pip", "install", "--quiet", *step]
            subprocess.run(words, check=True, capture_output=True, text=True)
        ready.write_text(holds)
    return python


def run(command: Sequence[str], folder: Path, deadline_s: float) -> str:
    """Runs a peer in `folder`, where it may leave what it likes; why it failed, "" if it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=deadline_s, cwd=folder)
    except subprocess.TimeoutExpired:
        return f"no result after {deadline_s:g} s"
    if done.returncode < 0:
        return f"ended by signal {-done.returncode}: {last_line(done.stderr)}"
    return last_line(done.stderr) if done.returncode else ""


def last_line(text: str) -> str:
    """The last line of what a tool said, which of a traceback is the error.

    >>> last_line("Traceback …\\n  File …\\nValueError: no\\n\\n")
    'ValueError: no'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else NEVER
