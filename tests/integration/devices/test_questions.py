"""The questions as a shell runs them: a board's tools found and asked, those that hang ended, all in one round trip."""

import os
import time
from pathlib import Path

import msgspec
import pytest

from edgekit.devices.facts import ask_all, facts_of
from edgekit.devices.local import LocalTransport
from edgekit.devices.questions import QUESTIONS, TOOL_S

TOOLS = {
    "vcgencmd": '[ "$*" = get_throttled ] && echo throttled=0x5',
    "nvpmodel": '[ "$*" = -q ] && printf "NV Power Mode: 15W\\n0\\n"',
    "jetson_clocks": '[ "$*" = --show ] && echo "cpu0: Online=1 Governor=schedutil MinFreq=7 MaxFreq=9 CurrentFreq=9"',
    "xdputil": """[ "$*" = query ] && echo '{"kernels": [{"DPU Arch": "DPUCZDX8G_ISA1_B4096"}]}'""",
    "xmutil": '[ "$*" = listapps ] && echo "dpu XRT_FLAT dpu XRT_FLAT (0+0) 0,"',
    "getprop": 'echo "[ro.build.version.sdk]: [34]"; echo "[gsm.operator]: [secret]"',
    "sw_vers": 'printf "ProductName:\\tmacOS\\nProductVersion:\\t14.5\\n"',
    "sysctl": 'echo "hw.model: Mac14,2"',
}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the head of PATH with a board's tools."""
    for name, text in TOOLS.items():
        put(tmp_path, name, text)
    put(tmp_path, "dpkg-query", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def ask(*names: str) -> dict[str, str]:
    questions = [question for question in QUESTIONS if not names or question.name in names]
    return ask_all(LocalTransport("here"), questions)


def test_each_tool_is_asked_for_what_its_parser_reads(tools: Path) -> None:
    facts = facts_of(ask(), "here")
    assert facts.throttled is not None
    assert facts.throttled[:2] == ("low voltage", "throttled")
    assert (facts.power_mode, facts.clocks_locked) == ("15W", False)
    assert (facts.dpu, facts.fpga_apps, facts.android_sdk) == ("DPUCZDX8G_ISA1_B4096", ("dpu",), 34)
    told = ask("sw_vers", "sysctl", "getprop")
    assert "14.5" in told["sw_vers"]
    assert "Mac14,2" in told["sysctl"]
    assert "secret" not in told["getprop"]


def test_packages_are_asked_for_in_the_words_that_their_parsers_read(tools: Path) -> None:
    """A dpkg-query that fills in the format as dpkg's manual says."""
    fill = """
        format=$(printf %s "$2" | sed 's/^-f=//; s/${db:Status-Status}/installed/; s/${Version}/36.4.3-2025/')
        shift 2
        for name in "$@"; do printf "$(printf %s "$format" | sed "s/\\${Package}/$name/")"; done"""
    put(tools, "dpkg-query", fill)
    assert facts_of(ask("uname", "packages"), "here").l4t == "36.4.3"


def test_trtexec_is_asked_where_no_package_tells_tensorrts_version(tools: Path) -> None:
    put(tools, "trtexec", 'echo "&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec $*"')
    assert facts_of(ask("uname", "tensorrt"), "here").tensorrt == "10.3.0"
    put(tools, "dpkg-query", "echo installed libnvinfer10 10.3.0.30-1+cuda12.5")
    assert facts_of(ask("uname", "tensorrt"), "here").tensorrt == "10.3.0.30"


def test_a_tool_that_hangs_costs_its_own_fact_alone(tools: Path) -> None:
    put(tools, "xdputil", "sleep 60")
    quick = [
        msgspec.structs.replace(question, words=tuple("1" if word == TOOL_S else word for word in question.words))
        for question in QUESTIONS
        if question.name in ("uname", "xdputil", "xmutil")
    ]
    began = time.monotonic()
    facts = facts_of(ask_all(LocalTransport("here"), quick), "here")
    assert time.monotonic() - began < 20
    assert (facts.dpu, facts.fpga_apps) == (None, ("dpu",))


def test_a_device_without_any_of_the_tools_says_nothing() -> None:
    told = ask(*(name for name in TOOLS if name != "sysctl"), "tensorrt", "l4t")
    assert set(told.values()) <= {"", "\n"}
