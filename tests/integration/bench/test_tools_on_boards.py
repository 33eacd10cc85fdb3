"""A board with a DPU, a Mac, and this computer: forms timed by xdputil and coremltools, which are ours, and for real
by LiteRT's own benchmark_litert_model."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import mac
import msgspec
import pytest
import xdputil
from nets import ONNX_X86, net, noise

from edgekit.bench.session import Plan
from edgekit.catalog import get_target
from edgekit.cli.words import measurement_table, profile_lines
from edgekit.compress.quantize import quantize
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.errors import DeviceError, MeasureError
from edgekit.formats.base import get_format
from edgekit.formats.pack import extend, package
from edgekit.lab.sshd import Sshd, running_sshd
from edgekit.models.program import Program, export
from edgekit.pipeline.alone import compare, profile
from edgekit.pipeline.check import check
from edgekit.pipeline.push import push
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger

Lowered = tuple[tuple[str, Program, Path], ...]
QUICK = Plan(least=2, most=2, seconds=0.05)
DPU = get_target("vitis_ai-dpuczdx8g-b4096")
APPLE = get_target("coreml-apple-silicon")


def made(store: ArtifactStore, program: Program, target: Target, folder: Path, name: str) -> Artifact:
    path = get_format(target.format).lower(program, target, folder / name)
    artifact = package(program, target, path, folder=folder / f"{name}-artifact", key=name, name="net")
    if target.format == "vitis_ai":  # the stand-in's compiler changes nothing
        shutil.copyfile(path, folder / name / "model.xmodel")
        extend(artifact, folder / f"{name}-artifact", (folder / name / "model.xmodel",), "model.xmodel")
    return store.add(folder / f"{name}-artifact")


@pytest.fixture(scope="module")
def kria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("kria")
    with running_sshd(folder, path=f"{folder}/tools:{os.environ['PATH']}") as server:
        yield server


@pytest.fixture
def board(kria: Sshd, tmp_path: Path) -> Device:
    xdputil.put(kria.folder / "tools")
    (kria.folder / "tools" / "log").unlink(missing_ok=True)
    return msgspec.structs.replace(kria.device(tmp_path / "root"), python=sys.executable)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, Artifact, Artifact]:
    """A store with a net in float for the processor and in int8 for the DPU."""
    folder = tmp_path_factory.mktemp("models")
    store, model = ArtifactStore(folder / "store"), net("mobile")
    here = msgspec.structs.replace(DPU, requires=DPU.requires[1:])  # but for the architecture
    recipe = Quantize(ranges="mse")
    return (
        store,
        made(store, export(model), ONNX_X86, folder, "float"),
        made(store, quantize(model, recipe, DPU.numerics, noise(16)), here, folder, "int8"),
    )


def test_a_model_on_the_dpu_is_compared_with_the_float_one_on_the_processor(
    board: Device, kria: Sshd, models: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    store, base, xmodel = models
    found = compare(base, xmodel, board, store, plan=QUICK)
    runtimes = [m.conditions.runtime for m in (found.baseline, found.candidate)]
    assert runtimes == ["onnxruntime", "xdputil"]
    assert found.candidate.conditions.units == "DPUCZDX8G_ISA1_B4096"
    assert found.candidate.wall.told == "mean"
    assert found.candidate.wall.p95_s is None
    assert found.baseline.cpu is not None
    assert found.candidate.cpu is None
    assert found.comparison.cpu is None
    assert (found.candidate.load_s, found.candidate.first_call_s, found.candidate.peak_memory_bytes) == (None,) * 3
    assert "two runtimes: the baseline by onnxruntime, the candidate by xdputil" in found.comparison.remarks
    timed = [line for line in xdputil_log(kria) if "benchmark" in line]
    assert len(timed) == 2
    assert all(line.startswith("2000 benchmark ") for line in timed)
    assert "(mean)" in measurement_table((found.baseline, found.candidate))


def xdputil_log(server: Sshd) -> list[str]:
    return (server.folder / "tools" / "log").read_text().splitlines()


def test_a_pushed_xmodel_is_compared_bit_for_bit_there_and_a_dpu_of_another_kind_refuses_it(
    board: Device, kria: Sshd, models: tuple[ArtifactStore, Artifact, Artifact], tmp_path: Path
) -> None:
    store, _, xmodel = models
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        pushed = push(xmodel, board, store, ledger)
        assert pushed.tried is not None
        assert pushed.tried.verdict is not None
        assert (pushed.tried.verdict.vectors, max(pushed.tried.verdict.worst)) == (3, 0)
        xdputil.put(kria.folder / "tools", "unmatched")
        with pytest.raises(MeasureError, match="the model is compiled for DPU 0x101000056010406"):
            push(xmodel, board, store, ledger)
    with pytest.raises(MeasureError, match="compiled for DPU"):
        profile(xmodel, board, store)


def test_a_rate_that_is_none_is_refused(
    board: Device, kria: Sshd, models: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    store, base, xmodel = models
    xdputil.put(kria.folder / "tools", "nan")
    with pytest.raises(MeasureError, match="board: xdputil gave a rate that is none"):
        compare(base, xmodel, board, store, plan=QUICK)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, Artifact, Artifact]:
    """A store with a net in float and in int8, as packages."""
    pytest.importorskip("coremltools")
    folder = tmp_path_factory.mktemp("packages")
    store, model = ArtifactStore(folder / "store"), net("mobile")
    int8 = quantize(model, Quantize(), APPLE.numerics, noise(16))
    return store, made(store, export(model), APPLE, folder, "float"), made(store, int8, APPLE, folder, "int8")


def test_packages_are_compared_on_a_mac_over_ssh_with_every_call_and_the_units_told(
    sshd: Sshd, packages: tuple[ArtifactStore, Artifact, Artifact], tmp_path: Path
) -> None:
    store, base, int8 = packages
    device = msgspec.structs.replace(sshd.device(tmp_path / "root"), python=str(mac.put(tmp_path / "mac")))
    found = compare(base, int8, device, store, plan=QUICK)
    assert found.baseline.conditions.runtime_version.startswith("9.0, ")
    assert found.baseline.conditions.units == "all: 2 ops on the neural engine, 1 on the CPU"
    assert found.baseline.wall.told == "calls"
    assert found.baseline.wall.p99_s is not None
    assert found.baseline.load_s == 0.25
    assert (found.baseline.peak_memory_bytes or 0) > 1_000_000
    assert set((tmp_path / "mac" / "log").read_text().split()) == {"ALL"}


@pytest.mark.slow
def test_what_a_mac_computes_is_compared_and_a_profile_says_where_the_ops_are(
    sshd: Sshd, packages: tuple[ArtifactStore, Artifact, Artifact], tmp_path: Path
) -> None:
    store, _, int8 = packages
    device = msgspec.structs.replace(sshd.device(tmp_path / "root"), python=str(mac.put(tmp_path / "mac")))
    checked = check(int8.id, store, device)
    assert checked.is_right
    assert checked.device == "board"
    lines = "\n".join(profile_lines(profile(int8, device, store)))
    assert "units        all: 2 ops on the neural engine" in lines


def test_a_mac_without_coremltools_is_told_so(
    sshd: Sshd, packages: tuple[ArtifactStore, Artifact, Artifact], tmp_path: Path
) -> None:
    store, base, int8 = packages
    device = msgspec.structs.replace(sshd.device(tmp_path / "root"), python="no-python-here")
    with pytest.raises(DeviceError, match=r"board: no coremltools there, no Python: .*pip install coremltools"):
        compare(base, int8, device, store)


@pytest.fixture(scope="module")
def files(lowered: Lowered, tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, Artifact, Artifact]:
    """A store with a net as TFLite in float and in int8."""
    folder, target = tmp_path_factory.mktemp("files"), get_target("tflite-x86_64-compiled_model")
    store = ArtifactStore(folder / "store")
    for name, program, path in lowered:
        package(program, target, path, folder=folder / name, key=name, name="net")
    return store, store.add(folder / "float"), store.add(folder / "int8")


def test_this_computer_is_measured_by_litert_s_own_benchmark_for_real(
    files: tuple[ArtifactStore, Artifact, Artifact], tmp_path: Path
) -> None:
    store, base, int8 = files
    device = Device(name="local", transport="local", root=str(tmp_path / "root"), python=sys.executable)
    found = compare(base, int8, device, store, plan=QUICK)
    assert found.baseline.conditions.runtime == "benchmark_litert_model"
    assert found.baseline.conditions.runtime_version[0].isdigit()
    for m in (found.baseline, found.candidate):
        assert (m.wall.told, m.wall.calls, m.wall.loads) == ("median", 100, 2)
        assert (m.wall.p95_s or 0) >= m.wall.p50_s > 0
        assert (m.load_s or 0) > 0
    assert any("in steps of 10 µs" in remark for remark in found.comparison.remarks)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        pushed = push(int8, device, store, ledger)
    assert pushed.tried is not None
    assert "it runs; local: benchmark_litert_model does not tell what a model computes" in pushed.tried.why
