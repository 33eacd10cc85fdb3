"""Three devices to try edgekit with, on a Linux machine: `edgekit lab up`, and gone without a trace by `lab down`.

A board over SSH, an arm64 userland over SSH, a phone over adb. Each is a process of its own that outlives the command
that started it. All that they have lies in one folder, whose path is a word of each of their command lines: by that
they are found and ended, also after the command was killed at any point.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from edgekit.core.device import Device
from edgekit.devices.inventory import add_device, devices, remove_device
from edgekit.errors import EdgekitError, UsageError
from edgekit.lab.arm import ARM64, inside_arm, missing, missing_steps, rootfs, run_arm_programs, run_no_arm_programs
from edgekit.lab.board import inside_board
from edgekit.lab.sshd import PROGRAM, children, make_sshd
from edgekit.store.home import home

BOARD, ARM, PHONE = NAMES = ("lab-board", "lab-arm", "lab-phone")
LABELS = (("lab", "yes"),)
STEPS = "steps"
END_S = 10.0
PROGRAMS = ("sshd", "adbd", "unshare", "mmdebstrap")
Say = Callable[[str], None]


class LabError(EdgekitError, RuntimeError):
    """A device of the lab cannot be made on this computer."""


def lab_folder() -> Path:
    """Where the lab of this user is, while it is up."""
    return home() / "lab"


def up(say: Say = lambda text: None) -> tuple[Device, ...]:
    """Starts the devices that can be had here, and keeps them in the inventory; `say` hears what is left out, and why.

    Raises: UsageError if the lab is up, or not even one can be had; LabError in the words of what failed: nothing is
    left then.
    """
    folder = lab_folder()
    if folder.exists():
        raise UsageError(f"the lab is up, or was not taken down whole ({folder}): `edgekit lab down`")
    taken = {device.name for device in devices()} & set(NAMES)
    if taken:
        raise UsageError(f"device {min(taken)!r}: is there already; `edgekit devices remove {min(taken)}` first")
    try:
        folder.mkdir(mode=0o700)
        for make, name in ((_board, BOARD), (_arm, ARM), (_phone, PHONE)):
            if (reason := _lacking(name)) is not None:
                say(f"{name}: left out: {reason}")
                continue
            say(f"starting {name}")
            add_device(make(folder / name))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        down()
        raise LabError(f"the lab cannot be made: {error}") from None
    except BaseException:
        down()
        raise
    found = standing()
    if not found:
        down()
        raise UsageError("no device of the lab can be had here: install openssh-server or adb")
    return tuple(device for device, _ in found)


def _lacking(name: str) -> str | None:
    """Why a device cannot be had on this computer; None if it can."""
    if name == PHONE:
        return None if shutil.which("adb") else "there is no adb: apt-get install adb"
    if not Path(PROGRAM).is_file():
        return "there is no sshd: apt-get install openssh-server"
    return missing(ARM64) if name == ARM else None


def _board(folder: Path) -> Device:
    server = make_sshd(folder, **(inside_board(folder, BOARD) if os.geteuid() == 0 else {}))
    server.start()
    return server.device(".edgekit", BOARD, labels=LABELS)


def _arm(folder: Path) -> Device:
    root = rootfs(folder / "root", ARM64)
    steps = missing_steps(ARM64)
    (folder.parent / STEPS).write_text(" ".join(steps))
    run_arm_programs(ARM64, steps)
    server = make_sshd(folder, **inside_arm(folder, root, ARM64))
    server.start()
    return server.device(".edgekit", ARM, labels=LABELS, python="python3")


def _phone(folder: Path) -> Device:
    (folder / "home").mkdir(parents=True)
    log = folder / "log"
    words = [sys.executable, "-m", "edgekit.lab.adbd", "0", "--home", str(folder / "home")]
    with log.open("wb") as said:
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
    until = time.monotonic() + 20
    while not (port := log.read_text().strip().rpartition(" ")[2]).isdigit():
        if time.monotonic() > until:
            raise LabError(f"{PHONE}: does not start: {log.read_text()[-300:]}")
        time.sleep(0.02)
    return Device(
        name=PHONE, transport="adb", host=f"127.0.0.1:{port}", root=str(folder / "home" / "edgekit"), labels=LABELS,
        python=sys.executable,
    )  # fmt: skip


def standing() -> tuple[tuple[Device, bool], ...]:
    """The lab's devices of the inventory, and whether each runs."""
    running = [_command(pid) for pid in _ours()]
    return tuple((device, any(str(lab_folder() / device.name) in words for words in running)) for device in _listed())


def _listed() -> list[Device]:
    """The lab's devices of the inventory."""
    return [device for device in devices() if device.name in NAMES and set(LABELS) <= set(device.labels)]


def down() -> int:
    """Ends the lab's devices and removes all they had, from the inventory too; how many processes were ended.

    Raises: OSError if something cannot be undone; StoreError.
    """
    folder = lab_folder()
    ended = 0
    until = time.monotonic() + END_S
    while (pids := list(_ours())) and time.monotonic() < until:
        for pid in pids:
            for each in (pid, *_below(pid)):
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
                    ended += 1
        time.sleep(0.02)
    with suppress(FileNotFoundError):
        run_no_arm_programs(ARM64, tuple((folder / STEPS).read_text().split()))
    for device in _listed():
        remove_device(device.name)
        if device.transport == "adb" and (adb := shutil.which("adb")):
            subprocess.run([adb, "disconnect", device.host], capture_output=True, timeout=30, check=False)
    if folder.exists():
        shutil.rmtree(folder)
    return ended


def _ours() -> Iterator[int]:
    """The processes of the lab: those of its programs that name its folder among their words."""
    mark = str(lab_folder()) + "/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            words = _command(int(entry.name))
            if mark in words and any(program in words for program in PROGRAMS):
                yield int(entry.name)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _below(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *_below(child)]
    return found
