"""What runs on a device ends when the host has given up on it, was killed, or is cut off."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.core.device import Device
from edgekit.devices.agent import agent_command
from edgekit.devices.connect import connect
from edgekit.errors import DeadlineError
from edgekit.lab.sshd import Sshd, running_sshd

onnx = pytest.importorskip("onnx")

SOON_S = 20.0
"""The longest wait for what takes a few seconds on an idle machine."""

HOST = """
import sys
import msgspec
from edgekit.core.device import Device
from edgekit.devices.connect import connect
device = msgspec.json.decode(sys.argv[1], type=Device)
with connect(device) as way:
    list(way.stream(sys.argv[3:], timeout_s=float(sys.argv[2]), idle_s=600, stdin=sys.stdin.buffer.read()))
"""

ENDLESS = {
    "rounds": {"orders": [[0, [0]]], "calls_most": 1 << 30, "calls_least": 7, "seconds": 1e9, "warmup_s": 1e9},
    "compile": {"loads": 1, "calls": 1 << 30, "whole": False},
}


def running(word: str) -> list[int]:
    """The processes of this computer with `word` in their command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def soon(true: Callable[[], bool]) -> bool:
    """Whether that comes true in time."""
    end = time.monotonic() + SOON_S
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


def measuring(folder: str) -> bool:
    """Whether an agent of this folder has its runtime loaded."""
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in running(folder)]
    return any("onnxruntime" in text for text in maps)


@pytest.fixture(params=["ssh", "local"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Device:
    if request.param == "ssh":
        server: Sshd = request.getfixturevalue("own_sshd")
        return server.device(tmp_path / "root")
    return Device(name="local", transport="local", root=str(tmp_path / "root"), python=sys.executable)


@pytest.fixture
def form(tmp_path: Path) -> dict[str, str]:
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.full((64, 64), 0.01, np.float32), "w")
    given, made = (helper.make_tensor_value_info(name, 1, [1, 64]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [given], [made], [weight])
    (folder := tmp_path / "form").mkdir()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "m.onnx")
    np.savez(folder / "v.npz", in_0=np.ones((1, 64), np.float32))
    return {"id": "m", "path": str(folder / "m.onnx"), "inputs": str(folder / "v.npz")}


def order(job: str, form: dict[str, str]) -> bytes:
    said = {"schema": 1, "job": job, "runtime": "onnxruntime", "threads": 1, "forms": [form], **ENDLESS[job]}
    return json.dumps(said).encode()


def host(device: Device, words: tuple[str, ...], timeout_s: float, stdin: bytes) -> subprocess.Popen[bytes]:
    """A host of its own that has a device run something."""
    told = msgspec.json.encode(device).decode()
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, told, str(timeout_s), *words], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    return process


@pytest.mark.parametrize("job", ENDLESS)
def test_the_agent_of_a_killed_host_ends_in_the_middle_of_measuring(
    device: Device, form: dict[str, str], job: str
) -> None:
    with connect(device) as way:
        words = agent_command(way, device)
    process = host(device, words, 600, order(job, form))
    try:
        assert soon(lambda: measuring(words[-1]))
    finally:
        process.kill()
        process.wait()
    assert soon(lambda: not running(words[-1]))
    assert not list(Path(form["path"]).parent.glob(".edgekit-*"))


def test_the_agent_ends_when_the_host_gives_up_on_it(device: Device, form: dict[str, str]) -> None:
    with connect(device) as way:
        words = agent_command(way, device)
        lines = way.stream(words, timeout_s=600, idle_s=3, stdin=order("rounds", form))
        with pytest.raises(DeadlineError):
            next(lines)
    assert soon(lambda: not running(words[-1]))


def test_a_device_that_is_cut_off_ends_what_is_past_its_deadline(
    own_sshd: Sshd, form: dict[str, str], tmp_path: Path
) -> None:
    device = own_sshd.device(tmp_path / "root")
    with connect(device) as way:
        words = agent_command(way, device)
    process = host(device, words, 6, order("rounds", form))
    try:
        assert soon(lambda: measuring(words[-1]))
        own_sshd.stall()
        assert soon(lambda: not running(words[-1]))
    finally:
        own_sshd.resume()
        process.kill()
        process.wait()


def test_a_program_that_heeds_nobody_ends_at_its_deadline(device: Device, tmp_path: Path) -> None:
    mark = str(tmp_path / "mark")
    words = ("sh", "-c", 'sleep 1000; : "$0"', mark)
    process = host(device, words, 3, b"")
    try:
        assert soon(lambda: len(running(mark)) > 1)
    finally:
        process.kill()
        process.wait()
    assert soon(lambda: not running(mark))


@pytest.mark.parametrize("theirs", [None, 'case $1 in -t) shift 2; exec "$@";; *) exec "$@";; esac'])
def test_a_device_without_a_timeout_that_it_knows_runs_commands_all_the_same(
    theirs: str | None, tmp_path: Path
) -> None:
    (programs := tmp_path / "programs").mkdir()
    for name in ("sh", "echo", "true"):
        (programs / name).symlink_to(f"/bin/{name}")
    if theirs:
        (programs / "timeout").write_text(f"#!/bin/sh\n{theirs}\n")
        (programs / "timeout").chmod(0o755)
    with (
        running_sshd(tmp_path / "sshd", path=str(programs)) as server,
        connect(server.device(tmp_path / "root")) as way,
    ):
        assert way.run(("echo", "a  b"), timeout_s=20).stdout == b"a  b\n"
        assert way.run(("no-such-program",), timeout_s=20).status == 127
