"""A computer with a kernel and a disk of its own: what it says of itself, and what a cut of its power leaves there."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edgekit.catalog.firmware import firmware_of
from edgekit.core.artifact import Artifact, FileEntry, content_id
from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.push import active, install, stage
from edgekit.devices.send import Sent
from edgekit.errors import DeviceError
from edgekit.lab.vm import CORES, MEMORY_BYTES, VirtualMachine, missing, running_vm

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=str(missing())), pytest.mark.timeout(900)]

KEPT = Path(__file__).parents[3] / ".bench" / "debian-12-arm64-vm"
"""Made once; `make clean` removes it."""

SIZE_BYTES = 1_000_000


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMachine]:
    with running_vm(tmp_path_factory.mktemp("vm"), KEPT) as machine:
        yield machine


@pytest.fixture
def device(computer: VirtualMachine) -> Device:
    return computer.device(".edgekit", name="vm", python="python3")


def artifact(folder: Path) -> Artifact:
    """An artifact like no other, its files in `folder`."""
    entries = []
    for name in ("model.onnx", "vectors.npz"):
        (folder / name).write_bytes(content := os.urandom(SIZE_BYTES))
        entries.append(FileEntry(path=name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)))
    files = tuple(entries)
    return Artifact(
        id=content_id(files), key="k", name="net", format="onnx", target="t", files=files, model_file="model.onnx"
    )


def in_use(device: Device) -> str | None:
    """The artifact that a program there would load; it is whole."""
    with connect(device) as way:
        found = active(way, device, "net")
        if found is None:
            return None
        script = 'cd "$1/models/net/current" && sha256sum --quiet --strict --check .manifest'
        done = way.run(("sh", "-c", script, "sh", device.root), timeout_s=60)
    assert done.status == 0, (done.stdout, done.stderr)
    return found.artifact


def test_what_it_says_of_itself_is_its_own_kernels(device: Device) -> None:
    with connect(device) as way:
        facts = gather(way, device)
    firmware = firmware_of(facts)
    assert firmware is not None
    assert (firmware.name, facts.arch, facts.cpu, facts.emulated) == ("debian-12-arm64", "aarch64", "Cortex-A72", False)
    assert facts.kernel.endswith("-cloud-arm64")
    assert facts.kernel != os.uname().release
    assert (facts.cores, facts.board) == (CORES, "linux,dummy-virt")
    assert 0.5 * MEMORY_BYTES < (facts.memory_bytes or 0) < MEMORY_BYTES


def test_a_file_pushed_there_is_whole(device: Device, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content := os.urandom(300_001))
    with connect(device) as way:
        folder = stage(way, device, {"sub dir/m": tmp_path / "m"})
        done = way.run(("sha256sum", f"{folder}/sub dir/m"), timeout_s=60)
    assert done.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()


def test_what_was_installed_is_there_after_a_power_cut_at_once(
    computer: VirtualMachine, device: Device, tmp_path: Path
) -> None:
    made = artifact(tmp_path)
    with connect(device) as way:
        install(way, device, made, tmp_path)
        computer.cut()
    computer.start()
    assert in_use(device) == made.id


@pytest.mark.parametrize("share", [None, 0.2, 0.6, 0.75, 0.9])
def test_a_power_cut_leaves_the_old_or_the_new_and_never_neither(
    computer: VirtualMachine, device: Device, tmp_path: Path, share: float | None
) -> None:
    """Half of it is sent (None); or all, and that share of the time is over that the switch took before."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = artifact(tmp_path / "old"), artifact(tmp_path / "new")
    sent: list[int] = []
    switching: list[float] = []
    with connect(device) as way:
        install(way, device, old, tmp_path / "old", on_sent=lambda _: switching.append(time.monotonic()))
        switch_s = time.monotonic() - switching[0]

    def cut_in_the_middle(count: int) -> None:
        sent.append(count)
        if share is None and sum(sent) > SIZE_BYTES:
            computer.cut()

    def cut_later(_: Sent) -> None:
        if share is not None:
            timers.append(threading.Timer(share * switch_s, computer.cut))
            timers[0].start()

    timers: list[threading.Timer] = []
    with connect(device) as way:
        with suppress(DeviceError):
            install(way, device, new, tmp_path / "new", on_bytes=cut_in_the_middle, on_sent=cut_later)
        for timer in timers:
            timer.join()
    assert computer.process is not None
    assert computer.process.poll() is not None
    computer.start()
    assert in_use(device) in ({old.id} if share is None else {old.id, new.id})
    with connect(device) as way:
        assert install(way, device, new, tmp_path / "new").artifact == new.id
