"""`edgekit lab`: devices that anyone can try edgekit with, up in seconds and gone without a trace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit.devices.connect import connect
from edgekit.devices.inventory import LOCAL, devices, get_device
from edgekit.lab.devices import BOARD, PHONE, lab_folder
from edgekit.lab.sshd import free_port


@pytest.fixture(autouse=True)
def own_adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An adb server of the test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    yield
    subprocess.run(["adb", "kill-server"], capture_output=True, check=False, timeout=20)


def edgekit(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit.cli.main", "lab", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def traces(home: Path) -> list[str]:
    """Processes, mounts, files and devices of the lab."""
    found = [str(path) for path in (lab_folder(),) if path.exists()]
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(home) in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(lab_folder()) in words:
                found.append(words)
    return found + [device.name for device in devices() if device.name != LOCAL]


def test_the_lab_goes_up_answers_and_is_gone_without_a_trace(edgekit_home: Path) -> None:
    done = edgekit("up", "--json")
    assert done.returncode == 0, done.stderr
    try:
        states = {row["name"]: row["state"] for row in json.loads(done.stdout)}
        assert {BOARD, PHONE} <= set(states)
        assert set(states.values()) == {"runs"}
        for name in (BOARD, PHONE):
            with connect(get_device(name)) as way:
                assert way.run(("echo", "here"), timeout_s=20).stdout == b"here\n"
        assert edgekit("up").returncode == 2
    finally:
        down = edgekit("down")
    assert down.returncode == 0
    assert traces(edgekit_home) == []


def test_a_lab_whose_command_was_killed_is_taken_down_whole(edgekit_home: Path) -> None:
    for wait_s in (0.5, 1.0, 1.5):
        command = [sys.executable, "-m", "edgekit.cli.main", "lab", "up"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
            time.sleep(wait_s)
            running.send_signal(signal.SIGKILL)
        assert edgekit("down").returncode == 0
        assert traces(edgekit_home) == []
