"""One user of a device at a time: on this computer, over a real sshd, and where busybox is all there is."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from edgekit.core.device import Device
from edgekit.devices import push
from edgekit.devices.connect import connect
from edgekit.devices.lease import lease, lock, unlock
from edgekit.devices.leased import Leased, beside
from edgekit.errors import LeaseError, UnreachableError
from edgekit.lab.sshd import Sshd

LONG_S = 60.0
"""More than anything here takes."""

HOLDER = """
import sys, time
import msgspec
from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.lease import lease
device = msgspec.json.decode(sys.argv[1], type=Device)
with connect(device) as way, lease(way, device, reason="hold", ttl_s=int(sys.argv[2])) as leased:
    print("held", flush=True)
    if sys.argv[3:]:
        print(leased.run(sys.argv[3:], timeout_s=600), flush=True)
    sys.stdin.read()
    leased.run(("true",), timeout_s=20)
"""


@pytest.fixture(params=["local", "ssh", "busybox"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Device:
    root = str(tmp_path / "edge root; it's")
    if request.param == "local":
        return Device(name="local", transport="local", root=root)
    return request.getfixturevalue("sshd" if request.param == "ssh" else "busybox").device(root)  # type: ignore[no-any-return]


@contextmanager
def leased(device: Device, reason: str = "measure", **more: object) -> Iterator[Leased]:
    with connect(device) as way, lease(way, device, reason=reason, **more) as found:  # type: ignore[arg-type]
        yield found


@contextmanager
def a_holder(device: Device, home: Path, *words: str, ttl_s: int = 60) -> Iterator["subprocess.Popen[str]"]:
    """Another program that holds the device, and runs a command there."""
    told = msgspec.json.encode(device).decode()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, told, str(ttl_s), *words], env=os.environ | {"EDGEKIT_HOME": str(home)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "bob")


def test_who_comes_second_is_told_who_holds_it_and_how_to_wait(device: Device) -> None:
    with leased(device, "tune net"):
        with pytest.raises(LeaseError) as caught, leased(device):
            raise AssertionError("two at once")
        line = str(caught.value)
        assert f"{device.name}: held by " in line
        assert f"(tune net, process {os.getpid()}) since " in line
        assert "--wait 10m" in line
        assert f"edgekit devices unlock {device.name} --force" in line
        assert caught.value.exit_code == 6
    with leased(device):
        pass


def test_who_waits_gets_it_when_the_other_is_done_and_hears_once_who_that_is(device: Device) -> None:
    heard, free = list[str](), threading.Event()

    def holds() -> None:
        with leased(device, "first"):
            free.set()
            for _ in range(500):
                if heard:
                    break
                time.sleep(0.02)

    other = threading.Thread(target=holds)
    other.start()
    assert free.wait(LONG_S)
    with leased(device, wait_s=LONG_S, on_wait=heard.append, sleep=lambda seconds: time.sleep(0.05)):
        other.join()
    assert len(heard) == 1
    assert "first" in heard[0]


def test_what_runs_under_a_lease_runs_as_it_would_without(device: Device) -> None:
    words = ("sh", "-c", 'echo "$0" "$@"; umask; pwd; echo "${LC_ALL-}"; cat; exit 7', "a b", "it's", "")
    with connect(device) as way:
        bare = way.run(words, timeout_s=20, stdin=b"in\n")
    with leased(device) as found:
        assert found.run(words, timeout_s=20, stdin=b"in\n") == bare


def test_once_the_lease_was_taken_away_nothing_more_runs_there(device: Device, tmp_path: Path) -> None:
    with leased(device) as found:
        with connect(device) as way:
            assert len(unlock(way, device, whose="anyone's")) == 1
        with leased(device):
            with pytest.raises(LeaseError, match="took the device over"):
                found.run(("touch", str(tmp_path / "mark")), timeout_s=20)
            with pytest.raises(LeaseError):
                list(found.stream(("touch", str(tmp_path / "mark")), timeout_s=20, idle_s=20))
            with pytest.raises(LeaseError):
                push.collect(found, device)
    assert not (tmp_path / "mark").exists()


def test_a_second_way_to_the_device_is_under_the_same_lease(device: Device) -> None:
    with connect(device) as way, connect(device) as other:
        with lease(way, device, reason="push") as leased:
            also = beside(leased, other)
            assert also.run(("echo", "on"), timeout_s=LONG_S).stdout == b"on\n"
            unlock(way, device, whose="anyone's")
            with pytest.raises(LeaseError):
                also.run(("echo", "on"), timeout_s=LONG_S)
        assert beside(way, other) is other


def test_who_lost_a_device_does_not_clear_up_where_another_works(device: Device, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"candidate")
    with pytest.raises(LeaseError), leased(device) as old, push.collecting(old, device):
        with connect(device) as way:
            unlock(way, device, whose="anyone's")
        with leased(device) as new:
            folder = push.stage(new, device, {"m": tmp_path / "m"})
            old.run(("true",), timeout_s=20)
    assert (Path(folder) / "m").exists()


def test_an_idle_holder_keeps_it_beyond_the_ttl(device: Device) -> None:
    with leased(device, ttl_s=2) as found:
        time.sleep(6)
        with pytest.raises(LeaseError), leased(device):
            raise AssertionError("two at once")
        assert found.run(("true",), timeout_s=20).status == 0


def test_a_command_keeps_it_beyond_the_ttl_and_while_it_runs_nothing_is_asked_of_the_device(
    own_sshd: Sshd, tmp_path: Path
) -> None:
    device = own_sshd.device(tmp_path / "root")
    with leased(device, ttl_s=1) as found:
        before = own_sshd.log().count("Starting session")
        assert found.run(("sleep", "5"), timeout_s=600).status == 0
        assert own_sshd.log().count("Starting session") == before + 1
        with pytest.raises(LeaseError), leased(device):
            raise AssertionError("two at once")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "measuring"])
def test_what_a_killed_program_held_is_free_at_once_for_the_next_one_of_this_computer(
    device: Device, edgekit_home: Path, busy: bool
) -> None:
    words = ("sh", "-c", "while echo x && sleep 0.1; do :; done") if busy else ()
    with a_holder(device, edgekit_home, *words) as process:
        with pytest.raises(LeaseError), leased(device):
            raise AssertionError("two at once")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with leased(device):
            pass


def test_what_a_killed_program_of_another_computer_held_ends_by_itself(device: Device, tmp_path: Path) -> None:
    with a_holder(device, tmp_path / "another", ttl_s=2) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with leased(device, wait_s=LONG_S):
            pass


def test_a_program_that_stood_still_too_long_finds_the_device_taken_and_ends_so(device: Device, tmp_path: Path) -> None:
    with a_holder(device, tmp_path / "another", ttl_s=2) as process:
        process.send_signal(signal.SIGSTOP)
        with leased(device, wait_s=LONG_S):
            process.send_signal(signal.SIGCONT)
            _, said = process.communicate(timeout=LONG_S)
        assert "LeaseError" in said


def test_a_cut_link_leaves_a_lease_that_the_next_program_of_this_computer_takes_over(
    own_sshd: Sshd, tmp_path: Path
) -> None:
    device = own_sshd.device(tmp_path / "root")
    with pytest.raises(UnreachableError), leased(device) as found:
        own_sshd.cut()
        found.run(("true",), timeout_s=600)
    with leased(device):
        pass


def test_a_lock_lets_its_owner_work_and_keeps_others_out(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(device) as way:
        made = lock(way, device, for_s=600, reason="flashing; it's mine")
        assert (made.lock, made.reason) == (True, "flashing; it's mine")
        with leased(device) as found:
            assert found.run(("true",), timeout_s=20).status == 0
            again = lock(way, device, for_s=60)
            assert again.token > made.token
        somebody_else(monkeypatch)
        with pytest.raises(LeaseError, match="locked by"), leased(device):
            raise AssertionError("locked")
        with pytest.raises(LeaseError, match="locked by"):
            lock(way, device, for_s=60)
        with pytest.raises(LeaseError, match="--force"):
            unlock(way, device)
        assert len(unlock(way, device, whose="anyone's")) == 1
        assert unlock(way, device) == ()
        with leased(device):
            pass


def test_purging_a_device_leaves_no_lease_behind(device: Device) -> None:
    with leased(device) as found:
        push.purge(found, device)
    assert not Path(device.root).exists()


def test_the_device_may_say_anything(tmp_path: Path, device: Device) -> None:
    folder = Path(device.root) / "lease"
    folder.mkdir(parents=True)
    (folder.parent / ".edgekit").touch()
    (folder / "nonsense").touch()
    (folder / "7").symlink_to("\x1b[2J" * 500)
    with pytest.raises(Exception, match="not one that this edgekit reads") as caught, leased(device):
        raise AssertionError("nothing of that is a state")
    assert str(caught.value).isprintable()
