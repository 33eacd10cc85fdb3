"""A phone over adb, without Python: forms timed, profiled, checked and installed by benchmark_model, which is ours.

The stand-in runs each file by LiteRT, so that its times and its outputs are those of a runtime; adb is the system's.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import benchmark_model
import msgspec
import numpy as np
import pytest
from phone import Phone, as_android, running_phone

from edgekit.bench.session import Form, Plan
from edgekit.bench.tool_session import ToolBench
from edgekit.catalog import get_target
from edgekit.cli.main import run
from edgekit.cli.words import measurement_table, profile_lines
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.push import stage
from edgekit.errors import ArtifactError, DeadlineError, DeviceError, EdgekitError, MeasureError, StorageError
from edgekit.formats.pack import package
from edgekit.lab.sshd import Sshd
from edgekit.models.program import Program
from edgekit.pipeline.alone import compare, profile
from edgekit.pipeline.check import check
from edgekit.pipeline.push import push
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger

Lowered = tuple[tuple[str, Program, Path], ...]
QUICK = Plan(least=2, most=2, seconds=0.05)
TARGET = get_target("tflite-aarch64-android")


@dataclass
class Reached:
    device: Device
    tools: Path
    root: Path


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    folder = tmp_path_factory.mktemp("phone")
    with (
        pytest.MonkeyPatch.context() as patch,
        running_phone(folder / "phone", patch, *as_android(folder / "shown")) as phone,
    ):
        yield phone


@pytest.fixture
def phone(plugged: Phone, tmp_path: Path) -> Reached:
    tools, root = tmp_path / "tools", tmp_path / "root"
    program = benchmark_model.put(tools)
    device = msgspec.structs.replace(
        plugged.device(root), python="no-python-here", tools=(("benchmark_model", str(program)),)
    )
    return Reached(device, tools, root)


@pytest.fixture(scope="module")
def two(lowered: Lowered, tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, Artifact, Artifact]:
    """A store with a net in float and in int8."""
    folder = tmp_path_factory.mktemp("two")
    store, made = ArtifactStore(folder / "store"), []
    for name, program, path in lowered:
        package(program, TARGET, path, folder=folder / name, key=name, name="net")
        made.append(store.add(folder / name))
    return store, made[0], made[1]


Two = tuple[ArtifactStore, Artifact, Artifact]


def test_two_artifacts_are_compared_by_a_process_a_form_and_round(phone: Reached, two: Two) -> None:
    store, baseline, candidate = two
    found = compare(baseline, candidate, phone.device, store, plan=QUICK)
    conditions = found.baseline.conditions
    assert conditions.runtime == "benchmark_model"
    assert conditions.runtime_version.startswith("build ")
    wall = found.baseline.wall
    assert (wall.loads, wall.told, wall.p90_s, wall.p99_s) == (2, "median", None, None)
    assert wall.p95_s is not None
    assert wall.p95_s >= wall.p50_s > 0
    assert wall.calls > 2
    assert (found.baseline.cpu, found.baseline.steady) == (None, None)
    assert found.comparison.cpu is None
    assert (found.baseline.load_s or 0) > 0
    assert (found.baseline.first_call_s or 0) > 0
    assert (found.baseline.peak_memory_bytes or 0) > 1_000_000
    assert any("tells no CPU time" in remark for remark in found.comparison.remarks)
    table = measurement_table((found.baseline, found.candidate))
    assert "p95" in table
    assert table.splitlines()[1].count(" - ") == 2, "p90 and p99 are not told"
    timed = [line for line in benchmark_model.log(phone.tools) if "peak" not in line]
    assert len(timed) == 4
    assert all("--use_xnnpack=true" in line and "in_0:" in line for line in timed)
    assert not (phone.root / "bench").exists()


def test_a_profile_has_the_ops_inside_the_delegate_and_says_what_is_not_told(phone: Reached, two: Two) -> None:
    store, _, int8 = two
    found = profile(int8, phone.device, store, sustain_s=0.2)
    assert found.ops[0].name == "Delegate/Convolution (NHWC, QC8) IGEMM:0"
    assert sum(op.share for op in found.ops) == pytest.approx(1)
    assert found.sustained is not None
    assert found.sustained.between == "the start of a process"
    lines = "\n".join(profile_lines(found))
    assert "p90 and p99 not told" in lines
    assert "without a pause but the start of a process" in lines


def test_a_pushed_model_is_tried_there_first_and_one_that_computes_something_else_is_not_active(
    phone: Reached, two: Two, tmp_path: Path
) -> None:
    store, baseline, candidate = two
    current = phone.root / "models" / "net" / "current"
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        pushed = push(candidate, phone.device, store, ledger)
        assert pushed.tried is not None
        assert pushed.tried.verdict is not None
        assert pushed.tried.verdict.vectors == 3
        assert max(pushed.tried.verdict.worst) <= 1
        benchmark_model.put(phone.tools, "wrong")
        with pytest.raises(ArtifactError, match="phone: net by benchmark_model: output 0 is up to"):
            push(baseline, phone.device, store, ledger)
        assert (current / "model.tflite").read_bytes() == store.model_path(candidate).read_bytes()
        benchmark_model.put(phone.tools, "old")
        pushed = push(baseline, phone.device, store, ledger)
        assert pushed.tried is not None
        assert pushed.tried.verdict is None
        assert "it runs; phone: this benchmark_model writes no outputs" in pushed.tried.why
        (phone.tools / "benchmark_model").unlink()
        pushed = push(candidate, phone.device, store, ledger)
        assert pushed.tried is not None
        assert "benchmark_model there, where `--tool` says" in pushed.tried.why
    assert (current / "model.tflite").read_bytes() == store.model_path(candidate).read_bytes()


def test_a_check_compares_what_the_phone_computes(phone: Reached, two: Two) -> None:
    store, _, int8 = two
    found = check(int8.id, store, phone.device)
    assert found.device == "phone"
    assert found.is_right
    assert "benchmark_model shows no values of its layers" in " ".join(found.notes)
    benchmark_model.put(phone.tools, "wrong")
    assert not check(int8.id, store, phone.device).is_right


FAILURES: dict[str, tuple[type[EdgekitError], int, str]] = {
    "crash": (MeasureError, 10, "benchmark_model was ended by signal 11: it crashed"),
    "illegal": (
        MeasureError,
        10,
        "benchmark_model was ended by signal 4: it has an instruction that this processor lacks",
    ),
    "hang": (DeadlineError, 4, "benchmark_model gave no result within 2 s, so it was ended"),
    "garbage": (MeasureError, 10, "benchmark_model gave no timings"),
    "nan": (MeasureError, 10, "benchmark_model gave a time that is none: count=.*nan"),
    "full": (StorageError, 8, "benchmark_model: ERROR: write error: No space left on device"),
}


@pytest.mark.parametrize("mood", FAILURES)
def test_a_program_that_fails_is_told_of_in_one_line(mood: str, phone: Reached, two: Two) -> None:
    store, baseline, candidate = two
    benchmark_model.put(phone.tools, mood)
    kind, code, words = FAILURES[mood]
    with pytest.raises(kind, match=rf"phone: {words}") as failure:
        compare(baseline, candidate, phone.device, store, plan=msgspec.structs.replace(QUICK, deadline_s=2.0))
    assert failure.value.exit_code == code
    assert str(failure.value).isprintable()
    assert not (phone.root / "bench").exists(), "what was sent is collected"


def test_a_model_that_the_program_refuses_is_refused_in_its_words(phone: Reached, two: Two, tmp_path: Path) -> None:
    """Its inputs are of another shape than those that are sent with it."""
    store, baseline, _ = two
    (folder := tmp_path / "odd").mkdir()
    (folder / "model.tflite").write_bytes(store.model_path(baseline).read_bytes())
    np.savez(folder / "vectors.npz", in_0=np.zeros((1, 2, 3), np.float32), out_0=np.zeros((1, 10), np.float32))
    with connect(phone.device) as transport:
        bench = ToolBench(transport, phone.device, gather(transport, phone.device), Options(runtime="benchmark_model"))
        place = stage(transport, phone.device, {name: folder / name for name in ("model.tflite", "vectors.npz")})
        form = Form(id="odd", path=f"{place}/model.tflite", inputs=f"{place}/vectors.npz")
        bench.sent(form, TARGET, folder / "model.tflite", folder / "vectors.npz")
        with pytest.raises(MeasureError, match=r"phone: benchmark_model gave no timings: ERROR: Failed to load model"):
            bench.rounds([form], "odd", QUICK)


ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0"
"""The beginning of an ELF file, up to the machine that it is for."""


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (
            ELF + (62).to_bytes(2, "little"),
            0o755,
            "is built for x86_64, the device is aarch64: get LiteRT's",
        ),
        (b"MZ\x90\0" + bytes(60), 0o755, "is no program: get LiteRT's"),
        (b"", 0o755, "is an empty file"),
        (b"#!/bin/sh\n", 0o644, "is not executable: chmod"),
    ],
)
def test_a_program_that_cannot_run_there_is_told_of_before_anything_is_sent(
    content: bytes, mode: int, words: str, phone: Reached, two: Two
) -> None:
    store, baseline, candidate = two
    program = phone.tools / "benchmark_model"
    program.write_bytes(content)
    program.chmod(mode)
    with pytest.raises(DeviceError, match=words):
        compare(baseline, candidate, phone.device, store, plan=QUICK)
    assert not (phone.root / "bench").exists()


def test_the_phone_is_known_as_one_and_without_the_program_it_is_told_how_to_get_it(phone: Reached, two: Two) -> None:
    store, baseline, candidate = two
    device = msgspec.structs.replace(phone.device, tools=())
    with connect(device) as transport:
        facts = gather(transport, device)
    assert (facts.os_id, facts.arch, facts.python, facts.emulated) == ("android", "aarch64", None, False)
    with pytest.raises(
        DeviceError, match=r"phone: no benchmark_model there: .* prepare phone --runtime benchmark_model"
    ):
        compare(baseline, candidate, device, store, plan=QUICK)


def test_the_same_over_ssh(sshd: Sshd, two: Two, tmp_path: Path) -> None:
    store, baseline, candidate = two
    program = benchmark_model.put(tmp_path / "tools")
    device = msgspec.structs.replace(
        sshd.device(tmp_path / "root"), python="none", tools=(("benchmark_model", str(program)),)
    )
    found = compare(baseline, candidate, device, store, plan=QUICK)
    assert found.comparison.ratio.rounds == 2
    assert (found.candidate.wall.p95_s or 0) > 0
    for mood in ("crash", "hang"):
        benchmark_model.put(tmp_path / "tools", mood)
        kind, _, words = FAILURES[mood]
        with pytest.raises(kind, match=rf"board: {words.partition(' by')[0]}"):
            compare(baseline, candidate, device, store, plan=msgspec.structs.replace(QUICK, deadline_s=2.0))


def test_the_command_line_enrols_a_phone_brings_the_program_and_compares(
    plugged: Phone, phone: Reached, two: Two, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, baseline, candidate = two
    files = [str(store.folder(artifact)) for artifact in (baseline, candidate)]
    add = ("devices", "add", "lab", plugged.serial, "--transport", "adb", "--root", str(phone.root))
    assert run([*add, "--python", "none", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["device"]["targets"] == ["onnx-aarch64", TARGET.name]
    bench = ["bench", *files, "--device", "lab", "--rounds", "5"]
    assert run(bench) == 10
    told = capfd.readouterr().err.strip().splitlines()[-1]
    assert "lab: no benchmark_model there: " in told
    for mood, code in (("full", 8), ("brief", 0)):
        program = benchmark_model.put(tmp_path / mood, mood)
        bring = ["devices", "prepare", "lab", "--runtime", "benchmark_model", "--from", str(program)]
        assert run(bring) == 0
        assert run([*bench, "--json"]) == code, "int8 is the smaller file, and the brief one's times are by size"
    found = json.loads(capfd.readouterr().out.partition("\n")[2].partition("\n")[2])
    assert found["comparison"]["verdict"] == "faster"
    assert (found["baseline"]["cpu"], found["baseline"]["wall"]["p99_s"]) == (None, None)
    assert run(["doctor", "--target", TARGET.name]) == 0
    assert "holds all that the target requires, and benchmark_model" in capfd.readouterr().out
