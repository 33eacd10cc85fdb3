"""Both transports keep one contract: this computer, and a real sshd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sshd import running_sshd

from edgekit.core.device import Device
from edgekit.devices.connect import connect
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
