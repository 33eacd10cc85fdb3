import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.catalog import default_target, firmware_of, get_profile, get_target, profiles, targets
from edgekit.core.device import Facts
from edgekit.errors import TargetError, UsageError

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


def test_every_target_reads_and_its_name_says_its_format_and_its_hardware() -> None:
    assert {t.name for t in targets()} >= {"onnx-x86_64", "onnx-aarch64", "tflite-x86_64", "tflite-aarch64"}
    for target in targets():
        assert target.name == f"{target.format}-{dict(target.requires)['arch']}"
        assert {"fp32", "int8"} <= set(target.numerics.precisions)


def test_onnxruntime_on_x86_takes_uint8_activations_and_less_range_where_vnni_is_missing() -> None:
    target = get_target("onnx-x86_64")
    assert target.numerics.activations == "uint8-affine"
    assert "vnni" in target.numerics.reduce_range_without
    assert (target.limits.opset, target.limits.ir_version) == (20, 10)
    assert get_target("onnx-aarch64").numerics.activations == "int8-affine"


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
    with pytest.raises(TargetError, match="there are onnx, tflite"):
        default_target(Facts(arch="x86_64"), "onxx")


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


def test_every_profile_can_fetch_each_runtime_for_its_own_machine() -> None:
    runtimes = {target.runtime for target in targets()}
    for profile in profiles():
        assert {runtime for runtime, _ in profile.bootstrap.wheels} == runtimes
        assert all(tag.endswith(profile.arch) for tag in profile.bootstrap.platforms)
        glibc = int(dict(profile.provides)["glibc"].split(".")[1])
        newer = [t for t in profile.bootstrap.platforms if "manylinux_2_" in t and int(t.split("_")[2]) > glibc]
        assert newer == []
        assert dict(profile.detect)["arch"] == profile.arch
        assert get_profile(profile.name) is profile


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
