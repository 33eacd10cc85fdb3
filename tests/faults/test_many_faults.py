"""Links that break again and again, and many at once: always an error in time, and nothing left open."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.errors import UnreachableError
from edgekit.lab.sshd import Sshd
from edgekit.testing.transports import open_files

COUNT = int(os.environ.get("EDGEKIT_FAULTS", "10"))
AT_ONCE = 50 if COUNT > 10 else 8


@pytest.mark.parametrize("way", ["ssh", "openssh"])
def test_after_many_faults_neither_threads_nor_files_are_left_open(own_sshd: Sshd, tmp_path: Path, way: str) -> None:
    device, numbers = own_sshd.device(tmp_path / "root", transport=way), random.Random(1)
    before: tuple[int, int] | None = None
    for number in range(COUNT + 1):
        timer = threading.Timer(numbers.uniform(0.0, 0.15), own_sshd.cut)
        with pytest.raises(UnreachableError), connect(device) as transport:
            timer.start()
            for _ in range(1000):
                transport.run(("sleep", "0.2"), timeout_s=20)
        timer.join()
        if number == 0:
            before = threading.active_count(), open_files()
    assert (threading.active_count(), open_files()) == before


@pytest.mark.parametrize("way", ["ssh", "openssh"])
def test_links_that_break_at_once_are_as_many_errors(own_sshd: Sshd, tmp_path: Path, way: str) -> None:
    device = own_sshd.device(tmp_path / "root", transport=way)
    ready, go = threading.Barrier(AT_ONCE + 1), threading.Event()

    def one(device: Device) -> str:
        try:
            with connect(device) as transport:
                ready.wait(60)
                go.wait(60)
                transport.run(("sleep", "60"), timeout_s=50)
        except UnreachableError as error:
            return type(error).__name__
        return "nothing"

    before = threading.active_count(), open_files()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = [pool.submit(one, device) for _ in range(AT_ONCE)]
        ready.wait(90)
        go.set()
        threading.Timer(0.5, own_sshd.cut).start()
        assert {answer.result() for answer in told} == {"UnreachableError"}
    threading.Event().wait(0.2)
    assert (threading.active_count(), open_files()) == before
