"""What a person reads of a device's facts."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from edgekit.cli.devices import _facts_lines
from edgekit.core.device import Facts

GOLDEN = Path(__file__).parents[2] / "golden" / "facts"


def page(name: str) -> str:
    facts = msgspec.convert(tomllib.loads((GOLDEN / f"{name}.toml").read_text())["facts"], type=Facts)
    return "\n".join(_facts_lines(facts))


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("synthetic_jetson_orin_nano_jetpack_6_2", [
            "board        NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super (tegra234)",
            "vendor       L4T 36.4.3, JetPack 6.2, TensorRT 10.3.0.30",
            "state        power mode 25W; clocks not locked; governor performance schedutil; 49 °C; not slowed",
        ]),
        ("synthetic_raspberry_pi_4_os_11", [
            "board        Raspberry Pi 4 Model B Rev 1.5 (bcm2711)",
            "low voltage, throttled, low voltage before, throttled before, soft temperature limit before",
        ]),
        ("synthetic_kria_kv260_petalinux_2022_2", [
            "vendor       Vitis AI 3.0.0, DPU DPUCZDX8G_ISA1_B4096, fingerprint 0x101000056010407, "
            "FPGA kv260-benchmark-b4096",
        ]),
        ("synthetic_termux_pixel_8", ["Android SDK 34", "Termux", "android 14, Linux 5.15", "bionic"]),
        ("synthetic_macos_14_m2", ["board        Mac14,2", "Apple M2, aarch64", "macos 14.5, Darwin 23.5.0"]),
    ],
)  # fmt: skip
def test_what_a_device_tells_is_shown(name: str, lines: list[str]) -> None:
    for line in lines:
        assert line in page(name)


def test_what_a_device_does_not_tell_takes_no_line() -> None:
    heads = {line.split()[0] for line in page("captured_debian_12_x86_64").splitlines()}
    assert heads == {"processor", "features", "memory", "system", "python"}
