"""All transports keep one contract: this computer, a real sshd, and either of them under a lease."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sshd import running_sshd

from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.devices.lease import lease
from edgekit.devices.transport import Transport
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


@contextmanager
def connect_leased(device: Device) -> Iterator[Transport]:
    with connect(device) as way, lease(way, device, reason="contract") as leased:
        yield leased


class TestLeasedTransport(TransportContract):
    @pytest.fixture
    def lab(self, folder: Path, tmp_path: Path) -> Iterator[Lab]:
        with running_sshd(tmp_path / "sshd") as server:
            device = server.device(tmp_path / "root")
            yield Lab(lambda: connect_leased(device), folder, {"cut": server.cut, "stall": server.stall}, server.resume)
