"""One fault in a network of its own: silent_link.py FOLDER TRANSPORT FAULT. Says as JSON what was noticed, and when.

Run in a network of its own (`lab.network.APART`): the rules of its firewall are gone with it, however it ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.errors import EdgekitError
from edgekit.lab.network import drop_all, open_network, refuse_all
from edgekit.lab.sshd import free_port, running_sshd

FAULTS = ("dropped", "reset", "stopped", "killed")


@dataclass
class Target:
    """A device in this network, and how its server is stopped and ended."""

    device: Device
    port: int
    stop: Callable[[], object]
    end: Callable[[], object]


@contextlib.contextmanager
def target(folder: Path, transport: str) -> Iterator[Target]:
    """The device that a transport reaches."""
    if transport != "adb":
        with running_sshd(folder / "sshd") as server:
            device = server.device(folder / "root", transport=transport)
            yield Target(device, server.port, server.stall, server.stop)
        return
    os.environ |= {"ANDROID_ADB_SERVER_PORT": str(free_port()), "HOME": str(folder)}
    words = [sys.executable, "-m", "edgekit.lab.adbd", "0", "--home", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as phone:
        assert phone.stdout is not None
        port = int(phone.stdout.readline().rpartition(" ")[2])
        device = Device(name="phone", transport="adb", host=f"127.0.0.1:{port}", root=str(folder))
        yield Target(device, port, lambda: phone.send_signal(signal.SIGSTOP), phone.kill)
        phone.kill()
    subprocess.run(["adb", "kill-server"], capture_output=True, check=False, timeout=20)


def break_link(device: Target, fault: str) -> None:
    """Loses every packet to and from the device, refuses them, stops its server, or ends it."""
    if fault == "stopped":
        device.stop()
        return
    if fault == "killed":
        device.end()
        return
    (drop_all if fault == "dropped" else refuse_all)(device.port)


def main() -> None:
    folder, transport, fault = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    open_network()
    with target(folder, transport) as device:
        broken: list[float] = []

        def act() -> None:
            broken.append(time.monotonic())
            break_link(device, fault)

        timer = threading.Timer(0.5, act)
        with connect(device.device) as way:
            timer.start()
            try:
                way.run(("sleep", "120"), timeout_s=100)
                told, words = "nothing", ""
            except EdgekitError as error:
                told, words = type(error).__name__, str(error)
            noticed_s = time.monotonic() - broken[0]
        timer.join()
        left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    json.dump({"told": told, "words": words, "after_s": noticed_s, "threads": left}, sys.stdout)


if __name__ == "__main__":
    main()
