"""Which packages a device gets as a runtime, and what it is told where there are none."""

import pytest

from edgekit.catalog import get_profile
from edgekit.core.device import Facts
from edgekit.core.firmware import Bootstrap
from edgekit.devices.runtimes import RUNTIMES, installed, order
from edgekit.errors import DeviceError
from edgekit.ondevice.agent.runtimes import RUNTIMES as IN_THE_AGENT

BARE = Bootstrap()
NUMPY_1 = (("numpy", "1.24.2"),)


def facts(arch: str, python: str, libc: str = "glibc 2.36", runtimes: tuple[tuple[str, str], ...] = ()) -> Facts:
    return Facts(arch=arch, python=python, libc=libc, runtimes=runtimes)


def test_the_host_and_the_agent_know_the_same_runtimes() -> None:
    assert set(RUNTIMES) == set(IN_THE_AGENT)


@pytest.mark.parametrize(
    ("arch", "python", "packages"),
    [
        ("x86_64", "3.12.3", ["onnxruntime", "ai-edge-litert"]),
        ("aarch64", "3.11.2", ["onnxruntime", "ai-edge-litert"]),
        ("aarch64", "3.8.10", ["onnxruntime", "tflite-runtime"]),
    ],
)
def test_a_machine_gets_the_newest_package_that_has_wheels_for_it(arch: str, python: str, packages: list[str]) -> None:
    wanted = [order(facts(arch, python), BARE, runtime, "board") for runtime in ("onnxruntime", "litert")]
    assert [w.requirements[-1].partition(">=")[0] for w in wanted] == packages
    assert {w.dependencies for w in wanted} == {"fetched"}


def test_tflite_runtime_never_meets_numpy_2_which_it_dies_of() -> None:
    assert "numpy>=1.20,<2" in order(facts("aarch64", "3.8.10"), BARE, "litert", "board").requirements


def test_32_bit_arm_gets_tflite_runtime_alone_and_uses_the_numpy_that_it_has() -> None:
    for bootstrap in (BARE, get_profile("raspberry-pi-os-12-armhf").bootstrap):
        wanted = order(facts("armv7l", "3.11.2", runtimes=NUMPY_1), bootstrap, "litert", "zero")
        assert [line.partition(">")[0] for line in wanted.requirements] == ["tflite-runtime"]
        assert wanted.dependencies == "there"


def test_32_bit_arm_without_numpy_is_told_how_to_get_it() -> None:
    with pytest.raises(DeviceError, match=r"zero: PyPI has no numpy for armv7l: `sudo apt install python3-numpy`"):
        order(facts("armv7l", "3.11.2"), BARE, "litert", "zero")
    with pytest.raises(DeviceError, match=r"numpy 1 is needed there, and numpy 2\.0\.1 is what it has"):
        order(facts("armv7l", "3.11.2", runtimes=(("numpy", "2.0.1"),)), BARE, "litert", "zero")


@pytest.mark.parametrize(
    ("seen", "runtime", "words"),
    [
        (facts("armv7l", "3.11.2", runtimes=NUMPY_1), "onnxruntime",
         r"no onnxruntime for armv7l, Python 3\.11\.2: onnxruntime has wheels for aarch64, x86_64 .*can have litert"),
        (facts("armv7l", "3.13.1", runtimes=NUMPY_1), "litert", r"tflite-runtime .*3\.11; no runtime has wheels"),
        (facts("armv6l", "3.11.2", runtimes=NUMPY_1), "litert", "no runtime has wheels for it"),
        (facts("aarch64", "3.12.5", "bionic"), "onnxruntime", r"unsupported: bionic: .*Termux .*python-onnxruntime"),
        (facts("aarch64", "3.11.8", "musl 1.2.4"), "litert", r"unsupported: musl 1\.2\.4: .* glibc"),
    ],
)  # fmt: skip
def test_where_nothing_fits_the_user_is_told_what_would(seen: Facts, runtime: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        order(seen, BARE, runtime, "board")


def test_a_profile_speaks_for_its_own_python_only() -> None:
    jetson = get_profile("jetpack-5.1").bootstrap
    assert order(facts("aarch64", "3.8.10"), jetson, "onnxruntime", "b").requirements[-1] == "onnxruntime>=1.17,<1.20"
    assert order(facts("aarch64", "3.10.4"), jetson, "onnxruntime", "b").requirements[-1] == "onnxruntime>=1.17"


def test_either_package_of_a_runtime_counts_as_installed() -> None:
    assert installed(facts("x86_64", "3.12.3", runtimes=(("litert", "2.3.0"),)), "litert") == ("litert 2.3.0",)
    assert installed(facts("x86_64", "3.12.3", runtimes=NUMPY_1), "litert") == ()
