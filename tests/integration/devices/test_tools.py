"""A vendor's program is found where the user says, where it was brought, where the firmware has it, or on the PATH."""

from pathlib import Path

import msgspec
import pytest

from edgekit.core.device import Device, Facts
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.push import collect, purge
from edgekit.devices.tools import bring_program, candidates, cores_for, find_program
from edgekit.errors import DeviceError, UsageError
from edgekit.lab.sshd import Sshd

SCRIPT = "#!/bin/sh\necho {}\n"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0"
ARM = Facts(arch="aarch64")


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCRIPT.format(says))
    path.chmod(0o755)
    return path


@pytest.fixture(params=["coreutils", "busybox"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Device:
    server: Sshd = request.getfixturevalue("sshd" if request.param == "coreutils" else "busybox")
    return server.device(tmp_path / "root with 'a space")


def test_what_was_brought_is_found_by_content_and_a_newer_one_takes_its_place(device: Device, tmp_path: Path) -> None:
    with connect(device) as way:
        facts = gather(way, device)
        with pytest.raises(DeviceError, match=r"board: no benchmark_model there: .*--from FILE` brings it"):
            find_program(way, device, facts, "benchmark_model")
        first = bring_program(way, device, facts, "benchmark_model", program(tmp_path / "one", "one"))
        assert way.run((first.path,), timeout_s=10).stdout == b"one\n"
        second = bring_program(way, device, facts, "benchmark_model", program(tmp_path / "two", "two"))
        assert second.build != first.build
        assert way.run((second.path,), timeout_s=10).stdout == b"two\n"
        assert find_program(way, device, facts, "benchmark_model") == second
        assert len(list(Path(device.root).glob("tools/*/benchmark_model"))) == 1
        collect(way, device)
        assert find_program(way, device, facts, "benchmark_model") == second, "it stays while candidates go"
        purge(way, device)
        assert not Path(device.root).exists()


def test_what_the_user_says_comes_first_and_is_not_guessed_around(device: Device, tmp_path: Path) -> None:
    own = program(tmp_path / "own tools" / "bm", "own")
    said = msgspec.structs.replace(device, tools=(("benchmark_model", str(own)),))
    with connect(device) as way:
        facts = gather(way, device)
        bring_program(way, device, facts, "benchmark_model", program(tmp_path / "one", "one"))
        assert find_program(way, said, facts, "benchmark_model").path == str(own)
        own.unlink()
        with pytest.raises(DeviceError, match=r"board: no /.*/own tools/bm there, where `--tool` says"):
            find_program(way, said, facts, "benchmark_model")
        with pytest.raises(UsageError, match=r"says that benchmark_model is at /.* of board"):
            bring_program(way, said, facts, "benchmark_model", program(tmp_path / "one", "one"))
        assert cores_for(way, device, 10_000) is None


def test_a_program_for_another_processor_is_refused_here_and_there(device: Device, tmp_path: Path) -> None:
    (odd := tmp_path / "odd").write_bytes(ELF + (183).to_bytes(2, "little") + bytes(100))
    with connect(device) as way:
        facts = gather(way, device)
        with pytest.raises(UsageError, match=f"built for aarch64, the device is {facts.arch}"):
            bring_program(way, device, facts, "benchmark_model", odd)
        found = bring_program(way, device, ARM, "benchmark_model", odd)
        assert found.path.endswith("/benchmark_model")
        with pytest.raises(DeviceError, match="is built for aarch64, the device is"):
            find_program(way, device, facts, "benchmark_model")


def test_places_are_looked_at_in_order_and_the_user_s_word_is_the_only_one_where_there_is_one() -> None:
    phone = Facts(arch="aarch64", os_id="android")
    told = "/data/local/tmp/benchmark_model"
    assert candidates(Device(name="phone"), phone, "benchmark_model") == ("@brought", told, "benchmark_model")
    assert candidates(Device(name="pi"), ARM, "benchmark_model") == ("@brought", "benchmark_model")
    said = Device(name="phone", tools=(("benchmark_model", "/opt/bm"),))
    assert candidates(said, phone, "benchmark_model") == ("/opt/bm",)
