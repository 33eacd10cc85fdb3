"""Vendors' programs: what they say is read as their format has it, and rounds are made of processes of theirs."""

import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgekit.bench.runners.benchmark_model import BenchmarkModel
from edgekit.bench.runners.coreml import CoreMl
from edgekit.bench.runners.rounds import time_once, tool_rounds
from edgekit.bench.runners.timing import Runner
from edgekit.bench.runners.trtexec import Trtexec
from edgekit.bench.runners.xdputil import Xdputil
from edgekit.core.device import Device
from edgekit.devices.connect import connect
from edgekit.errors import DeviceError, MeasureError

GOLDEN = sorted((Path(__file__).parents[2] / "golden" / "runners").glob("*.toml"))
RUNNERS: dict[str, Runner] = {
    runner.name: runner for runner in (Trtexec("10.3"), BenchmarkModel(), Xdputil(), CoreMl())
}


def read(path: Path) -> tuple[Runner, str, dict[str, Any]]:
    table = tomllib.loads(path.read_text())
    assert table["source"]
    expect = table["expect"]
    return RUNNERS[expect.pop("kind")], table["said"], expect


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_a_program_says_is_read_as_its_format_has_it(path: Path) -> None:
    runner, said, expect = read(path)
    if "error" in expect:
        with pytest.raises(MeasureError, match=expect["error"]):
            runner.parse(said, "board")
        return
    warning = expect.pop("warning", None)
    timing = runner.parse(said, "board")
    assert {name: getattr(timing, name) for name in expect} == {n: pytest.approx(v) for n, v in expect.items()}
    assert warning is None or warning in timing.warnings


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_was_cut_anywhere_is_an_error_or_a_figure_and_never_a_crash(path: Path) -> None:
    runner, said, _ = read(path)
    for end in range(0, len(said), 37):
        try:
            assert runner.parse(said[:end], "board").typical_s > 0
        except MeasureError:
            continue


TOOL = """#!/bin/sh
case $1 in --graph=*slow*) us=2000 ;; --graph=*bad*) echo "ERROR: no such model" >&2; exit 1 ;; *) us=1000 ;; esac
echo "count=50 first=$us curr=$us min=$us max=$us avg=$us std=0"
echo "Inference timings in us: Init: 10, First inference: $us, Warmup (avg): $us, Inference (avg): $us"
"""


@pytest.fixture
def tool(tmp_path: Path) -> str:
    """A program that answers in benchmark_model's format, for the rounds around it."""
    (path := tmp_path / "tool").write_text(TOOL)
    path.chmod(0o755)
    return str(path)


def test_a_round_is_one_process_a_form_in_another_order_each_time(tool: str) -> None:
    models = {"float": "fast.tflite", "int8": "slow.tflite"}
    with connect(Device(name="local", transport="local")) as way:
        rounds = tool_rounds(way, BenchmarkModel(), models, 8, program=tool)
    orders = {tuple(reading.artifact for reading in one.readings) for one in rounds}
    assert orders == {("float", "int8"), ("int8", "float")}
    for one in rounds:
        assert {r.artifact: r.wall_s for r in one.readings} == {
            "float": (pytest.approx(0.001),),
            "int8": (pytest.approx(0.002),),
        }


def test_a_program_that_fails_or_is_not_there_is_told(tool: str) -> None:
    with connect(Device(name="local", transport="local")) as way:
        with pytest.raises(MeasureError, match="no such model"):
            time_once(way, BenchmarkModel(), "bad.tflite", program=tool)
        with pytest.raises(DeviceError, match="name its path"):
            time_once(way, BenchmarkModel(), "fast.tflite", program="/no/such/program")


MODELS = """
import os
class MLModel:
    def __init__(self, path, skip_model_load=False):
        if not os.path.isfile(os.path.join(path, "Manifest.json")):
            raise FileNotFoundError(path)
"""
PERF_UTILS = """
class MLModelBenchmarker:
    class Measurement:
        def __init__(self, samples):
            self.samples = samples
    def __init__(self, model, device=None):
        pass
    async def benchmark_load(self, iterations=1):
        return self.Measurement([250.0] * iterations)
    async def benchmark_predict(self, inputs=None, iterations=1, warmup=False):
        return self.Measurement([2.0 if warmup else 9.0] * iterations)
"""
"""What the script asks of coremltools 9.0, which runs on Macs alone: the names and the order of its answers."""


def test_the_script_for_a_mac_asks_the_benchmarker_and_its_answer_is_read(tmp_path: Path) -> None:
    (folder := tmp_path / "coremltools" / "models" / "ml_program" / "experimental").mkdir(parents=True)
    for package in (folder, folder.parent):
        (package / "__init__.py").touch()
    (folder / "perf_utils.py").write_text(PERF_UTILS)
    (folder.parents[1] / "__init__.py").write_text(MODELS)
    (folder.parents[2] / "__init__.py").write_text('__version__ = "9.0"\nfrom . import models\n')
    (python := tmp_path / "python").write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (package := tmp_path / "net.mlpackage").mkdir()
    (package / "Manifest.json").touch()
    with zipfile.ZipFile(tmp_path / "net.mlpackage.zip", "w") as archive:
        archive.write(package / "Manifest.json", "net.mlpackage/Manifest.json")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        for name in ("a.mlpackage/Manifest.json", "b.mlpackage/Manifest.json", "../c.mlpackage/Manifest.json"):
            archive.writestr(name, "")
    with connect(Device(name="mac", transport="local")) as way:
        for model in (package, tmp_path / "net.mlpackage.zip"):
            timing = time_once(way, CoreMl(), str(model), program=str(python))
            found = (timing.calls, timing.p50_s, timing.first_call_s, timing.load_s)
            assert found == pytest.approx((50, 0.002, 0.009, 0.25))
        with pytest.raises(MeasureError, match=r"want one \.mlpackage in the zip, got 3"):
            time_once(way, CoreMl(), str(tmp_path / "two.zip"), program=str(python))
        assert not (tmp_path / "c.mlpackage").exists()
        with pytest.raises(MeasureError, match=r"FileNotFoundError: missing\.mlpackage"):
            time_once(way, CoreMl(), "missing.mlpackage", program=str(python))
