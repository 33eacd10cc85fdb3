"""A device without the runtime gets it from the host; one that cannot have it is told so in words."""

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgekit.catalog.firmware import firmware_of, get_profile
from edgekit.core.device import Device
from edgekit.core.firmware import Bootstrap, FirmwareProfile
from edgekit.devices import push
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.inventory import this_computer
from edgekit.devices.prepare import prepare, runtime_environment
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError, StorageError, UsageError
from edgekit.lab.sshd import Sshd

Place = tuple[Transport, Device]


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Writes a wheel of pure Python."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    whole = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in whole.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in whole))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, and no other place: two small packages with the runtime's names."""
    (folder := tmp_path / "shelf").mkdir()
    wheel(folder, "numpy", "2.1.0", {"numpy/__init__.py": "__version__ = '2.1.0'\n"})
    wheel(folder, "onnxruntime", "1.99.0", {"onnxruntime/__init__.py": "import numpy\n"})
    for key in [key for key in os.environ if key.startswith("PIP_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A Python of this version that has no packages."""
    return program(tmp_path / "bare python", f'exec "{sys.executable}" -S "$@"')


@pytest.fixture
def place(tmp_path: Path, bare: str, sshd: Sshd) -> Iterator[Place]:
    """A device whose Python is bare."""
    device = sshd.device(tmp_path / "edge root", python=bare)
    with connect(device) as way:
        yield way, device


def test_a_bare_device_gets_the_runtime_and_then_has_it(place: Place, shelf: Path) -> None:
    way, device = place
    facts = gather(way, device)
    assert dict(facts.runtimes) == {}
    assert runtime_environment(way, device) == ()
    environment = prepare(way, device, facts, firmware_of(facts), "onnxruntime")
    assert environment == (("PYTHONPATH", f"{device.root}/site/onnxruntime"),)
    assert runtime_environment(way, device) == environment
    assert dict(gather(way, device).runtimes) == {"numpy": "2.1.0", "onnxruntime": "1.99.0"}
    assert not list(Path(device.root, "incoming").iterdir())


def test_another_python_of_this_computer_gets_the_runtime_as_well(bare: str, shelf: Path, tmp_path: Path) -> None:
    device = Device(name="local", transport="local", root=str(tmp_path / "root"), python=bare)
    with connect(device) as way:
        environment = prepare(way, device, gather(way, device), None, "onnxruntime")
    assert environment == (("PYTHONPATH", f"{device.root}/site/onnxruntime"),)


def test_what_is_there_is_not_sent_again(place: Place, shelf: Path) -> None:
    way, device = place
    sent: list[int] = []
    facts = gather(way, device)
    first = prepare(way, device, facts, None, "onnxruntime", on_bytes=sent.append)
    assert sum(sent) > 0
    sent.clear()
    assert prepare(way, device, facts, None, "onnxruntime", on_bytes=sent.append) == first
    assert sent == []


def test_wheels_are_fetched_once_for_many_devices(place: Place, shelf: Path, tmp_path: Path) -> None:
    way, device = place
    facts = gather(way, device)
    prepare(way, device, facts, None, "onnxruntime")
    for path in shelf.iterdir():
        path.unlink()
    other = msgspec.structs.replace(device, root=str(tmp_path / "other"))
    assert prepare(way, other, facts, None, "onnxruntime") == (("PYTHONPATH", f"{other.root}/site/onnxruntime"),)


def test_what_was_brought_survives_collecting_and_not_purging(place: Place, shelf: Path) -> None:
    way, device = place
    environment = prepare(way, device, gather(way, device), None, "onnxruntime")
    push.collect(way, device)
    assert runtime_environment(way, device) == environment
    push.purge(way, device)
    assert not Path(device.root).exists()


def test_a_runtime_that_does_not_start_there_is_told_in_its_own_words(place: Place, shelf: Path) -> None:
    way, device = place
    wheel(shelf, "onnxruntime", "1.99.1", {"onnxruntime/__init__.py": "raise ImportError('needs a newer libc')\n"})
    with pytest.raises(DeviceError, match=r"does not start.*needs a newer libc"):
        prepare(way, device, gather(way, device), None, "onnxruntime")


def test_without_wheels_the_error_names_machine_and_python(place: Place, shelf: Path) -> None:
    way, device = place
    (shelf / "onnxruntime-1.99.0-py3-none-any.whl").unlink()
    with pytest.raises(DeviceError, match=r"onnxruntime for \w+, Python 3\.\d+: there are no wheels"):
        prepare(way, device, gather(way, device), None, "onnxruntime")
    assert not Path(device.root).exists()


def test_a_profiles_requirements_hold_for_the_python_it_was_written_for(place: Place, shelf: Path) -> None:
    way, device = place
    wheel(shelf, "onnxruntime", "1.98.0", {"onnxruntime/__init__.py": "import numpy\n"})
    facts = gather(way, device)
    wheels = (("onnxruntime", ("numpy", "onnxruntime==1.98.0")),)
    for python, version in (("2.0", "1.99.0"), (".".join(facts.python.split(".")[:2]), "1.98.0")):
        bootstrap = Bootstrap(python=python, wheels=wheels)
        profile = FirmwareProfile(name="p", title="P", arch=facts.arch, detect=(), bootstrap=bootstrap)
        prepare(way, device, facts, profile, "onnxruntime")
        assert dict(gather(way, device).runtimes)["onnxruntime"] == version
        push.purge(way, device)


def test_this_computer_uses_what_this_python_has() -> None:
    pytest.importorskip("onnxruntime")
    device = this_computer()
    with connect(device) as way:
        assert prepare(way, device, gather(way, device), None, "onnxruntime") == ()
    assert not Path(device.root).exists()


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("exit 127", "no Python"),
        ('echo "@python nonsense"', "no Python"),
        ("""echo '@python {"python": "3.7.16", "packages": {}}'""", r"Python 3\.7\.16 is too old: 3\.8"),
        ("""echo '@python {"python": "2.7.18", "packages": {}}'""", r"Python 2\.7\.18 is too old: 3\.8"),
    ],
)
def test_a_device_without_a_usable_python_is_told_so(python: str, words: str, sshd: Sshd, tmp_path: Path) -> None:
    device = sshd.device(tmp_path / "root", python=program(tmp_path / "python", python))
    with connect(device) as way, pytest.raises(DeviceError, match=words):
        prepare(way, device, gather(way, device), None, "onnxruntime")


def test_a_device_without_any_python_is_told_so(sshd: Sshd, tmp_path: Path) -> None:
    device = sshd.device(tmp_path / "root", python="no-such-python")
    with connect(device) as way, pytest.raises(DeviceError, match="no Python"):
        prepare(way, device, gather(way, device), None, "onnxruntime")


def test_a_musl_system_is_told_so(place: Place) -> None:
    way, device = place
    facts = msgspec.structs.replace(gather(way, device), libc="musl 1.2.4")
    with pytest.raises(DeviceError, match=r"unsupported: musl 1\.2\.4"):
        prepare(way, device, facts, None, "onnxruntime")


def test_32_bit_arm_gets_tflite_runtime_beside_the_numpy_that_it_has(shelf: Path, tmp_path: Path, sshd: Sshd) -> None:
    """No numpy is fetched: the shelf's would fit any machine, and must stay on it."""
    wheel(shelf, "tflite-runtime", "2.14.0", {f"tflite_runtime/{name}.py": "" for name in ("__init__", "interpreter")})
    own = tmp_path / "own"
    zipfile.ZipFile(shelf / "numpy-2.1.0-py3-none-any.whl").extractall(own)
    (own / "numpy-2.1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.24.2\n")
    python = program(tmp_path / "python", f'PYTHONPATH=$PYTHONPATH:{own} exec "{sys.executable}" -S "$@"')
    device = sshd.device(tmp_path / "root", python=python)
    with connect(device) as way:
        facts = msgspec.structs.replace(gather(way, device), arch="armv7l", python="3.11.2")
        prepare(way, device, facts, get_profile("raspberry-pi-os-12-armhf"), "litert")
        assert dict(gather(way, device).runtimes) == {"numpy": "1.24.2", "tflite-runtime": "2.14.0"}
    assert not (Path(device.root) / "site" / "litert" / "numpy").exists()


def test_an_unknown_runtime_is_refused(place: Place) -> None:
    way, device = place
    with pytest.raises(UsageError, match="onnxruntime, litert"):
        prepare(way, device, gather(way, device), None, "tvm")


def test_without_room_the_runtime_is_not_sent(place: Place, shelf: Path, tmp_path: Path) -> None:
    way, device = place
    program(tmp_path / "df", "echo 'Filesystem 1024-blocks Used Available Capacity Mounted'; echo /dev/x 9 9 1 90% /")
    words = way.run(("sh", "-c", "echo $PATH"), timeout_s=20).stdout.decode().strip()
    tight = TightDisk(way, f"{tmp_path}:{words}")
    with pytest.raises(StorageError, match="nothing was sent"):
        prepare(tight, device, gather(way, device), None, "onnxruntime")
    assert not Path(device.root).exists()


class TightDisk:
    """A transport on which programs are found in another order."""

    def __init__(self, way: Transport, path: str) -> None:
        self._way, self._path = way, path
        self.name, self.faults = way.name, way.faults

    def run(self, words, **options):
        return self._way.run(("env", f"PATH={self._path}", *words), **options)


@pytest.mark.slow
def test_the_real_runtime_is_fetched_sent_and_starts(bare: str, sshd: Sshd, tmp_path: Path) -> None:
    device = sshd.device(tmp_path / "root", python=bare)
    with connect(device) as way:
        facts = gather(way, device)
        environment = prepare(way, device, facts, firmware_of(facts), "onnxruntime")
        settings = tuple(f"{key}={value}" for key, value in environment)
        words = ("env", *settings, bare, "-c", "import onnxruntime as o; print(o.get_available_providers())")
        assert b"CPUExecutionProvider" in way.run(words, timeout_s=60).stdout
