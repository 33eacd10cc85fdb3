"""Targets that edgekit has no back end or no runner for are listed, and offered to nobody."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from edgekit.catalog import default_target, get_target, targets
from edgekit.cli.enrolment import coming_targets, runnable_targets
from edgekit.core.device import Facts
from edgekit.core.target import Target
from edgekit.errors import TargetError
from edgekit.formats.names import format_names
from edgekit.pipeline.fitting import without_python
from edgekit.pipeline.usable import check_usable, lacking, usable_targets, usable_words

GOLDEN = Path(__file__).parents[2] / "golden" / "facts"


def machine(name: str) -> Facts:
    return msgspec.convert(tomllib.loads((GOLDEN / f"{name}.toml").read_text())["facts"], type=Facts)


ORIN = machine("synthetic_jetson_orin_nano_jetpack_6_2")
PHONE = machine("synthetic_android_14_pixel_8")
TERMUX, MAC = machine("synthetic_termux_pixel_8"), machine("synthetic_macos_14_m2")
KRIA = machine("synthetic_kria_kv260_petalinux_2022_2")
PI_32 = machine("synthetic_raspberry_pi_zero_2_os_12_32_bit")


def test_what_the_agent_drives_is_usable() -> None:
    names = {target.name for target in usable_targets()}
    assert names >= {
        "tensorrt-jetson-orin",
        "onnx-x86_64",
        "onnx-aarch64",
        "tflite-x86_64",
        "tflite-aarch64",
        "tflite-armv7l",
    }
    assert {target.format for target in usable_targets()} <= set(format_names())


HAILO = Target(name="hailo-8", title="a format and a runtime of nobody's", format="hailo", runtime="hailortcli")


def test_what_no_device_ran_here_is_said_of_a_target_and_an_iphone_and_a_coral_wait() -> None:
    waiting = {target.runtime for target in set(targets()) - set(usable_targets())}
    assert waiting == {"coremltools-iphone", "libedgetpu"}
    words = {target.runtime: usable_words(target) for target in usable_targets()}
    untried = "yes; not tried on such a device"
    assert words == {
        "onnxruntime": "yes", "litert": "yes", "benchmark_litert_model": "yes", "trtexec": untried,
        "benchmark_model": untried, "coremltools": untried, "xdputil": untried,
    }  # fmt: skip


def test_a_target_that_nothing_builds_for_or_measures_is_refused_with_those_that_are() -> None:
    assert lacking(HAILO) == "no back end for format hailo yet"
    of_ours = msgspec.structs.replace(HAILO, format="onnx")
    assert lacking(of_ours) == "nothing that measures with hailortcli yet"
    for target in (HAILO, of_ours):
        with pytest.raises(TargetError, match=r"target hailo-8: there is .* yet; .*onnx-aarch64"):
            check_usable(target)


def test_a_device_is_given_usable_targets_only() -> None:
    for facts in (ORIN, PHONE):
        assert set(runnable_targets(facts)) <= {target.name for target in usable_targets()}
    assert runnable_targets(PI_32) == ("tflite-armv7l",)


def test_a_phone_has_benchmark_model_by_default_and_termux_its_own_python() -> None:
    assert default_target(PHONE, "tflite", usable_targets()).name == "tflite-aarch64-android"
    assert default_target(TERMUX, "tflite", usable_targets()).name == "tflite-aarch64"
    assert without_python(PHONE, usable_targets()) == get_target("tflite-aarch64-android")
    assert without_python(PI_32, usable_targets()) is None
    assert runnable_targets(MAC) == ("coreml-apple-silicon", "onnx-aarch64", "tflite-aarch64")
    assert "vitis_ai-dpuczdx8g-b4096" in runnable_targets(KRIA)


def test_what_a_device_could_run_if_edgekit_did_is_told() -> None:
    for facts, name in ((ORIN, "tensorrt-jetson-orin"), (PHONE, "tflite-aarch64-android")):
        told = dict(coming_targets(facts))
        assert name in told or name in runnable_targets(facts)
    assert coming_targets(PI_32) == ()
