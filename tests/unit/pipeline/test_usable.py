"""Targets that edgekit has no back end or no runner for are listed, and offered to nobody."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from edgekit.catalog import default_target, get_target, targets
from edgekit.cli.enrolment import coming_targets, runnable_targets
from edgekit.core.device import Facts
from edgekit.errors import TargetError
from edgekit.formats.names import format_names
from edgekit.pipeline.usable import check_usable, lacking, usable_targets

GOLDEN = Path(__file__).parents[2] / "golden" / "facts"


def machine(name: str) -> Facts:
    return msgspec.convert(tomllib.loads((GOLDEN / f"{name}.toml").read_text())["facts"], type=Facts)


ORIN = machine("synthetic_jetson_orin_nano_jetpack_6_2")
PHONE = machine("synthetic_android_14_pixel_8")
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


def test_every_target_that_is_not_usable_says_why() -> None:
    for target in set(targets()) - set(usable_targets()):
        assert str(lacking(target)).endswith(" yet")
        with pytest.raises(TargetError, match=rf"target {target.name}: there is .* yet; .*onnx-aarch64"):
            check_usable(target)


def test_a_format_with_a_back_end_is_not_usable_by_a_runtime_that_nothing_drives() -> None:
    assert lacking(get_target("tflite-aarch64-android")) == "nothing that measures with benchmark_model yet"


def test_a_device_is_given_usable_targets_only() -> None:
    for facts in (ORIN, PHONE):
        assert set(runnable_targets(facts)) <= {target.name for target in usable_targets()}
    assert runnable_targets(PI_32) == ("tflite-armv7l",)


def test_the_default_of_a_phone_is_not_the_target_that_asks_most_while_nothing_drives_it() -> None:
    assert default_target(PHONE, "tflite").name == "tflite-aarch64-android"
    assert default_target(PHONE, "tflite", usable_targets()).name == "tflite-aarch64"


def test_what_a_device_could_run_if_edgekit_did_is_told() -> None:
    for facts, name in ((ORIN, "tensorrt-jetson-orin"), (PHONE, "tflite-aarch64-android")):
        told = dict(coming_targets(facts))
        assert name in told or name in runnable_targets(facts)
    assert coming_targets(PI_32) == ()
