"""All transports keep one contract: this computer, a real sshd by two clients, a phone, and some under a lease."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from phone import running_phone

from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.lease import lease
from edgekit.devices.transport import Transport
from edgekit.lab.dropbear import running_dropbear
from edgekit.lab.sshd import running_sshd
from edgekit.testing.transports import Lab, TransportContract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (folder := tmp_path / "device").mkdir()
    return folder


class TestLocalTransport(TransportContract):
    @pytest.fixture
    def lab(self, folder: Path) -> Lab:
        return Lab(lambda: connect(Device(name="local", transport="local")), folder)


class TestSshTransport(TransportContract):
    @pytest.fixture
    def lab(self, folder: Path, tmp_path: Path) -> Iterator[Lab]:
        with running_sshd(tmp_path / "sshd") as server:
            device = server.device(folder)
            yield Lab(lambda: connect(device), folder, {"cut": server.cut, "stall": server.stall}, server.resume)


class TestOpensshTransport(TransportContract):
    @pytest.fixture
    def lab(self, folder: Path, tmp_path: Path) -> Iterator[Lab]:
        with running_sshd(tmp_path / "sshd") as server:
            device = server.device(folder, transport="openssh")
            yield Lab(lambda: connect(device), folder, {"cut": server.cut, "stall": server.stall}, server.resume)


class TestAdbTransport(TransportContract):
    @pytest.fixture
    def lab(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
        with running_phone(tmp_path / "phone", monkeypatch) as phone:
            device = phone.device(folder)
            yield Lab(lambda: connect(device), folder, {"cut": phone.cut, "stall": phone.stall}, phone.resume)


@pytest.mark.skipif(os.geteuid() != 0, reason="a home of its own takes a mount, and so root")
@pytest.mark.slow
@pytest.mark.parametrize("client", ["ssh", "openssh"])
class TestOnABareBoard(TransportContract):
    """dropbear and busybox: no SFTP, no coreutils."""

    @pytest.fixture
    def lab(self, folder: Path, tmp_path: Path, client: str) -> Iterator[Lab]:
        subprocess.run(["busybox", "--install", "-s", str(tmp_path)], check=True)
        with running_dropbear(tmp_path / "dropbear", path=str(tmp_path)) as server:
            device = server.device(folder, transport=client)
            yield Lab(lambda: connect(device), folder, {"cut": server.cut, "stall": server.stall}, server.resume)


@contextmanager
def connect_leased(device: Device) -> Iterator[Transport]:
    with connect(device) as way, lease(way, device, reason="contract") as leased:
        yield leased


@pytest.mark.slow
class TestLeasedTransport(TransportContract):
    @pytest.fixture
    def lab(self, folder: Path, tmp_path: Path) -> Iterator[Lab]:
        with running_sshd(tmp_path / "sshd") as server:
            device = server.device(tmp_path / "root")
            yield Lab(lambda: connect_leased(device), folder, {"cut": server.cut, "stall": server.stall}, server.resume)
