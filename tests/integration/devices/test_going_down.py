"""A device that goes down ends its programs a moment before its connections: it is away, and no program is at fault."""

import threading
from pathlib import Path

import pytest

from edgekit.devices.connect import connect
from edgekit.errors import UnreachableError
from edgekit.lab.sshd import Sshd


def test_a_program_that_is_killed_as_its_device_goes_down_is_a_broken_link(own_sshd: Sshd, tmp_path: Path) -> None:
    with connect(own_sshd.device(tmp_path / "root")) as way:
        assert way.run(("true",), timeout_s=60).status == 0
        power_cut = threading.Timer(0.2, own_sshd.cut)
        power_cut.start()
        with pytest.raises(UnreachableError):
            way.run(("sh", "-c", "kill -9 $$"), timeout_s=60)
        power_cut.join()
