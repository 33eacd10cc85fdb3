"""Every fault of a link on every way over one, and what was noticed: run as a program, it writes docs/faults.md."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from silent_link import FAULTS

from edgekit.lab.network import APART

WAYS = ("ssh", "openssh", "adb")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"

MEANT = {
    "dropped": "a firewall drops every packet",
    "reset": "a firewall answers with resets",
    "stopped": "the server is stopped (SIGSTOP), its machine answers",
    "killed": "the server and its sessions are killed",
}


def one(folder: Path, way: str, fault: str) -> dict[str, Any]:
    """What a command of two minutes told, and how many seconds after the fault."""
    script = Path(__file__).with_name("silent_link.py")
    words = [*APART, sys.executable, str(script), str(folder), way, fault]
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, check=False)
    if done.returncode:
        raise AssertionError(done.stderr[-2000:])
    return json.loads(done.stdout)


def page() -> Iterator[str]:
    """The page, line by line."""
    yield "# What a broken link does"
    yield ""
    yield "Written by `make faults`, as root on Linux; do not edit. A command runs on the device when the fault comes;"
    yield "the figures are the seconds until edgekit raised the error. `local` has no link, and none of these faults."
    yield ""
    yield "| fault | " + " | ".join(WAYS) + " |"
    yield "|---|" + "---|" * len(WAYS)
    for fault in FAULTS:
        cells = []
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                said = one(Path(folder), way, fault)
            cells.append(f"{said['told']}, {said['after_s']:.1f} s")
        yield f"| {MEANT[fault]} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text("\n".join(page()) + "\n")
