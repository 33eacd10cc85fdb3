"""A phone on which nobody is root: reached, asked and filled, and gone with the process that made it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.push import stage
from edgekit.errors import DeviceError
from edgekit.lab.sshd import Sshd
from edgekit.lab.termux import CLOSED, FILES, USER, missing, running_termux

pytestmark = pytest.mark.skipif(bool(missing()), reason=str(missing()))

ALONE = """
import sys, time
from pathlib import Path
from edgekit.lab.sshd import children
from edgekit.lab.termux import running_termux
with running_termux(Path(sys.argv[1])) as phone:
    print(phone.process.pid, *children(phone.process.pid), flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_termux(tmp_path_factory.mktemp("termux")) as server:
        yield server


@pytest.fixture(params=["ssh", "openssh"])
def device(phone: Sshd, request: pytest.FixtureRequest) -> Device:
    return phone.device(".edgekit", python="python3", transport=request.param)


def test_it_is_known_as_termux_with_a_user_and_a_home_of_its_own(device: Device) -> None:
    with connect(device) as way:
        facts = gather(way, device)
        said = way.run(("sh", "-c", "id -un; id -u; pwd"), timeout_s=20)
    assert (facts.os_id, facts.os_version, facts.android_sdk, facts.termux) == ("android", "14", 34, True)
    assert facts.board == "edgekit lab phone"
    assert said.stdout.decode().split() == [USER, "10123", f"{FILES}/home"]


def test_a_file_pushed_there_is_whole_and_its_users(device: Device, phone: Sshd, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content := os.urandom(200_000))
    with connect(device) as way:
        folder = stage(way, device, {"sub dir/m": tmp_path / "m"})
    there = phone.home / folder / "sub dir" / "m"
    assert (there.read_bytes(), there.stat().st_uid) == (content, 10123)


def test_a_folder_of_roots_is_closed_to_it_and_that_is_said(phone: Sshd, device: Device, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"m")
    closed = phone.device(f"{CLOSED}/edgekit", python="python3", transport=device.transport)
    with connect(closed) as way, pytest.raises(DeviceError, match=f"{CLOSED}.*[Pp]ermission denied"):
        stage(way, closed, {"m": tmp_path / "m"})


def test_all_of_it_is_gone_after_a_kill_of_the_process_that_made_it(tmp_path: Path) -> None:
    words = [sys.executable, "-c", ALONE, str(tmp_path / "phone")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as alone:
        assert alone.stdout is not None
        pids = [int(pid) for pid in alone.stdout.readline().split()]
        ran = [runs(pid) for pid in pids]
        alone.send_signal(signal.SIGKILL)
    assert ran == [True, True]
    until = time.monotonic() + 10
    while any(map(runs, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(runs, pids))
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
