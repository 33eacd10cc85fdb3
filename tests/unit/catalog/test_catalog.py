import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from edgekit.catalog import (
    default_target,
    firmware_of,
    fitting_targets,
    get_profile,
    get_target,
    profiles,
    targets,
)
from edgekit.catalog.firmware import detectable
from edgekit.core.device import Facts
from edgekit.core.firmware import recognise
from edgekit.core.recipe import Precision
from edgekit.devices.runtimes import RUNTIMES
from edgekit.errors import TargetError, UsageError
from edgekit.formats.mil.deployment import lacking, level_of

CHECKOUT = Path(__file__).parents[3]
GOOD = """
schema = 1
title = "T"
format = "onnx"
runtime = "onnxruntime"
[requires]
arch = "x86_64"
"""


def folder_with(tmp_path: Path, text: str, name: str = "onnx-t") -> Path:
    (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


HARDWARE = {
    "jetson-orin": ("soc", "tegra234"),
    "jetson-thor": ("soc", "tegra264"),
    "jetson-xavier": ("soc", "tegra194"),
    "dpuczdx8g-b3136": ("dpu", "DPUCZDX8G_ISA1_B3136"),
    "dpuczdx8g-b4096": ("dpu", "DPUCZDX8G_ISA1_B4096"),
    "apple-silicon": ("os", "macos"),
    "edgetpu": ("edgetpu_runtime", "14"),
    "iphone": ("os", "ios"),
} | {arch: ("arch", arch) for arch in ("aarch64", "armv7l", "x86_64")}


def test_every_target_reads_and_its_name_says_its_format_and_the_hardware_that_it_requires() -> None:
    for target in targets():
        said = target.name.removeprefix(f"{target.format}-")
        hardware = next(name for name in HARDWARE if said == name or said.startswith(f"{name}-"))
        assert HARDWARE[hardware] in target.requires
        assert ("arch" in dict(target.requires)) == (target.accelerator is None)
        assert {"int8", "int8-weights"} & set(target.numerics.precisions)
    assert len(targets()) == len({(t.format, t.runtime, t.requires) for t in targets()})


def test_a_tensorrt_target_names_a_version_that_one_jetpack_has() -> None:
    tensorrt = [target for target in targets() if target.format == "tensorrt"]
    asked = {tuple(dict(t.requires)[key] for key in ("soc", "l4t", "tensorrt")) for t in tensorrt}
    assert len(asked) == len(tensorrt) > 0
    for target in tensorrt:
        assert target.numerics.activations == "int8-symmetric"
        assert target.build == "device"
        assert target.limits.opset == (17 if dict(target.requires)["tensorrt"].startswith("8.") else 21)


def test_a_dpu_takes_scales_that_are_powers_of_two_and_channels_in_its_own_multiples() -> None:
    for name, multiple in (("vitis_ai-dpuczdx8g-b4096", 16), ("vitis_ai-dpuczdx8g-b3136", 14)):
        target = get_target(name)
        assert target.numerics.scales == "power-of-two"
        assert target.limits.channel_multiple == multiple
        assert dict(target.requires)["dpu_fingerprint"].startswith("0x101000056")  # Vitis AI 3.0


def test_onnxruntime_on_x86_takes_uint8_activations_and_less_range_where_vnni_is_missing() -> None:
    target = get_target("onnx-x86_64")
    assert target.numerics.activations == "uint8-affine"
    assert "vnni" in target.numerics.reduce_range_without
    assert (target.limits.opset, target.limits.ir_version) == (20, 10)
    assert get_target("onnx-aarch64").numerics.activations == "int8-affine"


def test_an_apple_target_holds_what_its_oldest_system_does_and_says_of_the_rest_why_not() -> None:
    for target in (target for target in targets() if target.format == "coreml"):
        held, lacks = target.numerics.precisions, dict(target.numerics.lacks)
        for precision in get_args(Precision):
            assert (
                (precision in held)
                == (lacking(precision, target.limits.deployment) is None)
                == (precision not in lacks)
            )
        level = int(dict(target.requires)["os_version"].removeprefix(">="))
        assert level_of(target.limits.deployment) == level + (3 if dict(target.requires)["os"] == "macos" else 0)
    assert (
        default_target(Facts(arch="aarch64", os_id="macos", os_version="14.6"), "coreml").limits.deployment == "macOS14"
    )
    assert (
        default_target(Facts(arch="aarch64", os_id="macos", os_version="26.1"), "coreml").limits.deployment == "macOS15"
    )


def test_a_board_is_a_new_file(tmp_path: Path) -> None:
    assert get_target("onnx-t", folder_with(tmp_path, GOOD)).requires == (("arch", "x86_64"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "[limits]\nchanel_multiple = 8\n", r"onnx-t\.toml: .*chanel_multiple.*\$\.limits"),
        (GOOD.replace("title", "titel"), r"onnx-t\.toml: .*titel"),
        (GOOD + "[numerics]\nactivations = 'int4'\n", r"onnx-t\.toml: .*int4.*\$\.numerics\.activations"),
        (GOOD + "[limits]\nopset = 'x'\n", r"onnx-t\.toml: .*\$\.limits\.opset"),
        (GOOD + "arch = [", r"onnx-t\.toml: "),
        (GOOD.replace("schema = 1", "schema = 9"), "schema 9.*install a newer edgekit"),
        (GOOD.replace("schema = 1", ""), "want `schema = 1`, got None"),
        ("name = 'x'\n" + GOOD, "the file's own name"),
        (GOOD.replace('"onnx"', '"tflite"'), "must begin with its format: tflite-"),
        (GOOD.replace('arch = "x86_64"', "arch = 3"), r"onnx-t\.toml: .*requires"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_its_file_and_path(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        targets(folder_with(tmp_path, text))


def test_an_unknown_target_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(TargetError, match=r"target 'onx-x86_64': there is none; nearest: onnx-x86_64"):
        get_target("onx-x86_64")
    with pytest.raises(TargetError, match="onnx-aarch64, onnx-x86_64"):
        get_target("zzz")


def test_the_default_target_is_the_one_that_the_machine_can_run() -> None:
    assert default_target(Facts(arch="aarch64")).name == "onnx-aarch64"
    assert default_target(Facts(arch="x86_64"), "tflite").name == "tflite-x86_64"
    with pytest.raises(TargetError, match=r"armv7l device: .*needs arch aarch64, the device has armv7l"):
        default_target(Facts(arch="armv7l"))
    with pytest.raises(TargetError, match=r"there are .*onnx, .*tflite"):
        default_target(Facts(arch="x86_64"), "onxx")


def test_a_machine_without_a_target_of_one_format_is_told_of_the_others() -> None:
    with pytest.raises(TargetError, match="of other formats there is tflite-armv7l"):
        default_target(Facts(arch="armv7l"), "onnx")


GOLDEN = CHECKOUT / "tests" / "golden" / "facts"
MACHINES = {path.stem: tomllib.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.toml"))}


def machine(name: str) -> Facts:
    return msgspec.convert(MACHINES[name]["facts"], type=Facts)


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_is_recognised_by_the_profile_of_its_image_and_by_no_other(name: str) -> None:
    facts = machine(name)
    found = firmware_of(facts)
    assert (found.name if found else "") == MACHINES[name]["firmware"]
    if found is not None:
        assert found.arch == facts.arch
        rivals = [p for p in profiles() if len(p.detect) == len(found.detect) and recognise(detectable(facts), (p,))]
        assert rivals == [found]


def test_every_profile_has_a_machine() -> None:
    assert {golden["firmware"] for golden in MACHINES.values()} - {""} == {p.name for p in profiles()}


@pytest.mark.parametrize("name", [name for name, golden in MACHINES.items() if golden["firmware"]])
def test_a_profile_says_of_libc_and_python_what_its_machine_does(name: str) -> None:
    facts, provides = machine(name), dict(get_profile(MACHINES[name]["firmware"]).provides)
    if "glibc" in provides and facts.libc:
        assert facts.libc == f"glibc {provides['glibc']}"
    if "python" in provides and facts.python:
        assert facts.python.startswith(provides["python"] + ".")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("synthetic_jetson_xavier_nx_jetpack_5_1", ["onnx-aarch64", "tensorrt-jetson-xavier-8.5", "tflite-aarch64"]),
        ("synthetic_jetson_agx_orin_jetpack_6_0", ["onnx-aarch64", "tensorrt-jetson-orin-8.6", "tflite-aarch64"]),
        ("synthetic_jetson_orin_nano_jetpack_6_2", ["onnx-aarch64", "tensorrt-jetson-orin", "tflite-aarch64"]),
        ("synthetic_jetson_orin_nx_jetpack_7_2", ["onnx-aarch64", "tensorrt-jetson-orin-10.16", "tflite-aarch64"]),
        ("synthetic_jetson_thor_jetpack_7_0", ["onnx-aarch64", "tensorrt-jetson-thor-10.13", "tflite-aarch64"]),
        ("synthetic_kria_kv260_petalinux_2022_2", ["onnx-aarch64", "tflite-aarch64", "vitis_ai-dpuczdx8g-b4096"]),
        ("synthetic_kria_kv260_ubuntu_22_04", ["onnx-aarch64", "tflite-aarch64"]),  # another fingerprint: Vitis AI 2.5
        ("synthetic_raspberry_pi_zero_2_os_12_32_bit", ["tflite-armv7l"]),
        ("synthetic_android_14_pixel_8", ["onnx-aarch64", "tflite-aarch64", "tflite-aarch64-android"]),
        ("synthetic_macos_14_m2", ["coreml-apple-silicon", "onnx-aarch64", "tflite-aarch64"]),
        ("captured_debian_12_x86_64", ["onnx-x86_64", "tflite-x86_64"]),
    ],
)
def test_a_machine_fits_the_targets_that_it_has_all_for(name: str, expected: list[str]) -> None:
    fitting = fitting_targets(machine(name), targets())
    assert [target.name for target in fitting if target.offered == "by default"] == expected


def test_a_target_that_is_had_by_name_only_is_no_default() -> None:
    by_name = {target.name for target in fitting_targets(machine("captured_debian_12_x86_64"), targets())}
    assert "tflite-x86_64-benchmark_model" in by_name
    assert default_target(machine("captured_debian_12_x86_64"), "tflite").name == "tflite-x86_64"


def facts(os_id: str, version: str, arch: str, board: str | None = None) -> Facts:
    return Facts(arch=arch, os_id=os_id, os_version=version, board=board)


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        (facts("debian", "12", "x86_64"), "debian-12-x86_64"),
        (facts("debian", "12", "aarch64"), "debian-12-arm64"),
        (facts("debian", "12", "aarch64", "Raspberry Pi 5 Model B Rev 1.0"), "raspberry-pi-os-12-arm64"),
        (facts("ubuntu", "22.04", "aarch64"), "ubuntu-22.04-arm64"),
        (facts("ubuntu", "22.04", "x86_64"), "ubuntu-22.04-x86_64"),
        (facts("ubuntu", "24.04", "x86_64"), "ubuntu-24.04-x86_64"),
        (facts("ubuntu", "24.04", "aarch64"), "ubuntu-24.04-arm64"),
        (facts("alpine", "3.20", "x86_64"), None),
        (facts("debian", "13", "x86_64"), None),
    ],
)
def test_a_firmware_is_recognised_from_its_facts(seen: Facts, name: str | None) -> None:
    found = firmware_of(seen)
    assert (found.name if found else None) == name


def test_every_profile_is_of_one_architecture() -> None:
    for profile in profiles():
        assert dict(profile.detect)["arch"] == profile.arch
        assert get_profile(profile.name) is profile


@pytest.mark.parametrize("name", [p.name for p in profiles() if "glibc" in dict(p.provides)])
def test_a_profile_of_a_glibc_system_fetches_each_runtime_that_it_can_have(name: str) -> None:
    profile = get_profile(name)
    provides, bootstrap = dict(profile.provides), profile.bootstrap
    assert bootstrap.python == provides["python"]
    python = tuple(int(part) for part in bootstrap.python.split("."))
    fitting = {
        runtime: next((p.name for p in packages if p.fits(profile.arch, python)), None)
        for runtime, packages in RUNTIMES.items()
    }
    got = {runtime: lines[-1].partition(">=")[0] for runtime, lines in bootstrap.wheels}
    assert got == {runtime: package for runtime, package in fitting.items() if package}
    assert all(tag.endswith(profile.arch) for tag in bootstrap.platforms)
    glibc = int(provides["glibc"].split(".")[1])
    assert [t for t in bootstrap.platforms if "manylinux_2_" in t and int(t.split("_")[2]) > glibc] == []


def test_systems_that_no_wheel_is_for_are_promised_none() -> None:
    for profile in profiles():
        if "glibc" not in dict(profile.provides):
            assert profile.bootstrap.wheels == ()


def test_an_unknown_profile_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UsageError, match="nearest: debian-12"):
        get_profile("debian-12")


def test_the_wheel_carries_the_catalog(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    name = subprocess.run(
        (sys.executable, "-c", build, str(tmp_path)), cwd=CHECKOUT, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    zipfile.ZipFile(tmp_path / name).extractall(tmp_path / "site")
    show = (
        "import edgekit, edgekit.catalog as c; print(edgekit.__file__, "
        "*[t.name for t in c.targets()], *[p.name for p in c.profiles()])"
    )
    where, *names = subprocess.run(
        (sys.executable, "-c", show),
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
    ).stdout.split()
    assert Path(where).is_relative_to(tmp_path / "site")
    assert names == [t.name for t in targets()] + [p.name for p in profiles()]
