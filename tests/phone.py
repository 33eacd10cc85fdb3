"""A phone behind a real adb: client and server are the system's, with a key and a port of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.core.device import Device
from edgekit.lab.sshd import children, free_port


class Phone:
    """A running phone; its server and its key are in `folder`."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], port: int) -> None:
        self.folder, self._process, self.serial = folder, process, f"127.0.0.1:{port}"

    def device(self, root: Path | str, name: str = "phone") -> Device:
        return Device(name=name, transport="adb", host=self.serial, root=str(root), python=sys.executable)

    def cut(self) -> None:
        """The cable is pulled: what ran there runs on, and nobody hears of it."""
        self._process.kill()
        self._process.wait()

    def stall(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        for pid in children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextlib.contextmanager
def running_phone(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Iterator[Phone]:
    """A phone that answers; it and the adb server that this test started end with the block."""
    (folder / "home").mkdir(parents=True)
    (folder / "host").mkdir()
    monkeypatch.setenv("HOME", str(folder / "host"))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    words = [sys.executable, "-m", "edgekit.lab.adbd", "0", "--home", str(folder / "home"), *options]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = int(process.stdout.readline().rpartition(" ")[2])
    phone = Phone(folder, process, port)
    try:
        yield phone
    finally:
        phone.stop()
        subprocess.run(["adb", "kill-server"], capture_output=True, check=False, timeout=20)
        time.sleep(0.05)


PROPERTIES = """\
[ro.build.version.release]: [14]
[ro.build.version.sdk]: [34]
[ro.product.cpu.abi]: [arm64-v8a]
[ro.product.manufacturer]: [edgekit]
[ro.product.model]: [lab phone]
"""
SHOWN = {
    "uname": "#!/bin/sh\necho 5.15.137-android14-11 aarch64\n",
    "getprop": "#!/bin/sh\ncat {folder}/properties\n",
    "cat": '#!/bin/sh\n[ "$*" != /etc/os-release ] || exit 1\n[ "$*" != /proc/cpuinfo ] || set -- {folder}/cpuinfo\n'
    'exec /bin/cat "$@"\n',
}


def as_android(folder: Path) -> tuple[str, ...]:
    """Words of a phone that says of itself what an Android phone says, by programs in `folder`; it has no Python."""
    folder.mkdir(parents=True)
    golden = Path(__file__).parent / "golden" / "facts" / "synthetic_android_14_pixel_8.toml"
    (folder / "cpuinfo").write_text(tomllib.loads(golden.read_text())["told"]["cpuinfo"])
    (folder / "properties").write_text(PROPERTIES)
    for name, text in SHOWN.items():
        (folder / name).write_text(text.format(folder=folder))
        (folder / name).chmod(0o755)
    return ("--", "env", f"PATH={folder}:{os.environ['PATH']}")
