"""Engines over SSH: built by trtexec on a board, used again, timed in rounds, installed whole. The trtexec is ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import torch
import trtexec
from nets import net, noise
from sequences import Attends, tokens

from edgekit.bench.engines import Engines
from edgekit.bench.session import Form, Plan
from edgekit.bench.tool_session import TRIED, ToolBench
from edgekit.bench.trtexec_program import TrtexecProgram
from edgekit.catalog import get_target
from edgekit.cli.words import profile_lines
from edgekit.compress.quantize import quantize
from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.core.project import Dynamic
from edgekit.core.recipe import Quantize
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.errors import ArtifactError, ConvertError, DeviceError, TargetError
from edgekit.formats.pack import package
from edgekit.formats.tensorrt import FORMAT
from edgekit.lab.sshd import Sshd, running_sshd
from edgekit.models.free import axes_of_project
from edgekit.models.model import capture
from edgekit.models.program import export
from edgekit.pipeline.alone import compare, profile
from edgekit.pipeline.push import push
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

QUICK = Plan(least=2, most=2)
TARGET = msgspec.structs.replace(get_target("tensorrt-jetson-orin"), requires=(("tensorrt", "10.3"),))
"""The lab's board has no Jetson's chip; what else the target asks is asked of a board in tests of facts."""


@dataclass
class Board:
    device: Device
    tools: Path
    root: Path

    def engines(self) -> list[Path]:
        return sorted(self.root.glob("engines/*/*.engine"))


@pytest.fixture(scope="module")
def board_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("jetson")
    with running_sshd(folder, path=f"{folder}/tools:{os.environ['PATH']}") as server:
        yield server


@pytest.fixture
def board(board_sshd: Sshd, tmp_path: Path) -> Board:
    tools = board_sshd.folder / "tools"
    trtexec.put(tools, "10.3.0")
    (tools / "log").unlink(missing_ok=True)
    return Board(board_sshd.device(tmp_path / "root"), tools, tmp_path / "root")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, Artifact, Artifact]:
    """A store with a net in float and in int8."""
    folder = tmp_path_factory.mktemp("two")
    store, model = ArtifactStore(folder / "store"), net("mobile")
    made = []
    for name, program in (
        ("float", export(model)), ("int8", quantize(model, Quantize(), TARGET.numerics, noise(16)))
    ):  # fmt: skip
        path = FORMAT.lower(program, TARGET, folder / name)
        package(program, TARGET, path, folder=folder / f"{name}-artifact", key=name, name="net")
        made.append(store.add(folder / f"{name}-artifact"))
    return store, made[0], made[1]


def test_two_artifacts_are_compared_by_engines_that_are_built_once(
    board: Board, two: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    store, baseline, candidate = two
    said: list[str] = []
    found = compare(
        baseline, candidate, board.device, store, plan=QUICK, listen=lambda event: said.append(event.text)
    )  # fmt: skip
    conditions = found.baseline.conditions
    assert (conditions.runtime, conditions.runtime_version) == ("trtexec", "10.3.0")
    assert found.comparison.ratio.rounds == 2
    assert found.baseline.wall.calls == 60
    assert found.candidate.peak_memory_bytes is None
    assert "trtexec: GPU compute time is unstable." in found.comparison.remarks
    assert trtexec.log(board.tools).count("build") == 2
    assert sum("building an engine with TensorRT 10.3.0" in text for text in said) == 2
    assert len(board.engines()) == 2
    assert not (board.root / "bench").exists()
    assert next(board.root.glob("engines/*/timing.cache")).read_text() == "timed\n" * 2
    compare(baseline, candidate, board.device, store, plan=QUICK)
    assert trtexec.log(board.tools).count("build") == 2, "the engines were there"
    assert trtexec.log(board.tools).count("time") == 8


@pytest.mark.parametrize(
    "version", ["8.2.1", *(pytest.param(v, marks=pytest.mark.slow) for v in ("8.5.2", "8.6.1", "10.16.0", "11.0.0"))]
)
def test_a_profile_of_an_engine_has_its_layers_and_what_is_not_told_is_not_made_up(
    version: str, board: Board, two: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    """The board's trtexec refuses every option that its version does not have."""
    trtexec.put(board.tools, version)
    store, _, int8 = two
    found = profile(int8, board.device, store, sustain_s=1.0)
    assert [(op.name, op.op) for op in found.ops] == [("layer 2", "gemm int8"), ("layer 1", "gemm int8")]
    assert found.measurement.first_call_s is None
    assert found.measurement.cpu is None
    assert found.measurement.peak_memory_bytes is None
    assert found.sustained is not None
    assert found.sustained.joules_per_call is None
    assert any("first call not told" in line for line in profile_lines(found))


@contextmanager
def measuring(board: Board) -> Iterator[ToolBench]:
    with connect(board.device) as transport:
        yield ToolBench(transport, board.device, gather(transport, board.device), Options(runtime="trtexec"))


def engines_of(bench: ToolBench) -> Engines:
    assert isinstance(bench.program, TrtexecProgram)
    return bench.program.engines


def refused(path: Path) -> Path:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, (None,))
    graph = helper.make_graph([helper.make_node("Unique", ["x"], ["y"], name="odd")], "g", [given], [made])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_an_engine_that_is_not_built_says_op_and_reason_in_a_line(board: Board, tmp_path: Path) -> None:
    path = refused(tmp_path / "m.onnx")
    with measuring(board) as bench:
        bench.sent(form := Form(id="m", path=str(path), inputs=""), TARGET, path, path)
        with pytest.raises(
            ConvertError, match=r"TensorRT 10\.3\.0 builds no engine: op Unique \(/b\): creator"
        ) as failure:
            bench.rounds([form], "m", QUICK)
    assert "\n" not in str(failure.value)
    assert board.engines() == []


def test_a_target_that_asks_for_the_dla_has_an_engine_of_its_own(
    board: Board, two: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    store, _, int8 = two
    model = store.model_path(int8)
    dla = msgspec.structs.replace(TARGET, dla_core=0)
    with measuring(board) as bench:
        for at, target in enumerate((TARGET, dla)):
            bench.sent(form := Form(id=str(at), path=f"{'/.' * at}{model}", inputs=""), target, model, model)
            bench.ready(form)
        assert len(board.engines()) == 2
        vectors = store.folder(int8) / str(int8.vectors)
        bench.sent(form, dla, model, vectors)
        assert max(bench.vectors(form)) < 1e-4, "six digits of what the host computes"
    trtexec.put(board.tools, "10.16.0")
    with measuring(board) as bench, pytest.raises(TargetError, match=r"TensorRT 10\.16\.0 has no DLA"):
        bench.sent(form := Form(id="dla", path=str(model), inputs=""), dla, model, model)
        bench.ready(form)


def test_an_engine_of_another_tensorrt_or_a_damaged_one_is_built_again(
    board: Board, two: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    store, _, int8 = two
    model = store.model_path(int8)
    with measuring(board) as bench:
        first = engines_of(bench).build(model, str(model))
        assert first.built is not None
        assert first.built.seconds == 21.457
        assert engines_of(bench).build(model, str(model)).built is None
        [engine] = board.engines()
        for header in (b"ftrt" + bytes(20) + bytes([10, 7, 0, 23]), b"nothing", b""):
            engine.write_bytes(header)
            assert engines_of(bench).build(model, str(model)).built is not None
    trtexec.put(board.tools, "10.7.0")
    with measuring(board) as bench:
        assert engines_of(bench).build(model, str(model)).built is not None
    assert [path.parent.name[:6] for path in board.engines()] == ["10.7.0"], "what no TensorRT there loads is gone"


HALF = """#!/bin/sh
for word; do case $word in --saveEngine=*) echo half > "${word#*=}" ;; esac; done
"""


def test_a_build_that_breaks_off_leaves_no_engine(board: Board, two: tuple[ArtifactStore, Artifact, Artifact]) -> None:
    store, _, int8 = two
    model = store.model_path(int8)
    with measuring(board) as bench:
        (board.tools / "trtexec").write_text(HALF)
        with pytest.raises(ConvertError, match="board: trtexec built no engine: it said nothing"):
            engines_of(bench).build(model, str(model))
        assert engines_of(bench).find(engines_of(bench).key(model)) is None
        (board.tools / "trtexec").unlink()
        with pytest.raises(DeviceError, match="no trtexec that runs"):
            engines_of(bench).build(model, str(model))


def test_a_device_without_tensorrt_is_told_so_before_anything_is_sent(
    sshd: Sshd, tmp_path: Path, two: tuple[ArtifactStore, Artifact, Artifact]
) -> None:
    store, baseline, candidate = two
    with pytest.raises(DeviceError, match="board: no tensorrt there, so no trtexec"):
        compare(baseline, candidate, sshd.device(tmp_path / "root"), store)
    assert not list((tmp_path / "root").glob("bench/*"))


WRONG = """#!/bin/sh
{program} "$@"
for word; do
    case $word in --exportOutput=*) sed -i 's/"values" : . [-0-9.e]*/"values" : [ 9e9/' "${{word#*=}}" ;; esac
done
"""


def test_a_pushed_model_has_its_engine_beside_it_and_one_that_computes_something_else_is_not_active(
    board: Board, two: tuple[ArtifactStore, Artifact, Artifact], tmp_path: Path
) -> None:
    store, baseline, candidate = two
    current = board.root / "models" / "net" / "current"
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        pushed = push(candidate, board.device, store, ledger)
        assert pushed.engine is not None
        assert (pushed.engine.tensorrt, pushed.engine.seconds) == ("10.3.0", 21.457)
        assert pushed.engine.verdict.vectors == TRIED
        assert max(pushed.engine.verdict.worst) <= 1
        engine = (current / ".built" / "model.engine").read_bytes()
        assert engine[28:] == (current / candidate.model_file).read_bytes()
        again = push(candidate, board.device, store, ledger)
        assert again.was_there
        assert again.engine is not None
        assert again.engine.was_there
        push(baseline, board.device, store, ledger)
        assert (current / ".built" / "model.engine").read_bytes()[28:] == store.model_path(baseline).read_bytes()
        assert (board.root / "models" / "net" / "previous" / ".built" / "model.engine").read_bytes() == engine
        (board.tools / "trtexec").rename(board.tools / "right")
        (board.tools / "trtexec").write_text(WRONG.format(program=board.tools / "right"))
        (board.tools / "trtexec").chmod(0o755)
        with pytest.raises(ArtifactError, match="board: the engine of net: output 0 is up to"):
            push(candidate, board.device, store, ledger)
        assert (current / ".built" / "model.engine").read_bytes()[28:] == store.model_path(baseline).read_bytes()
    assert trtexec.log(board.tools).count("build") == 2


def test_an_engine_of_free_sizes_is_built_for_all_and_tried_at_more_than_the_examples(
    board: Board, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    given = tuple(torch.from_numpy(array) for array in tokens(2, 12).inputs)
    free = (
        Dynamic(name="batch", axes=("in_0.0", "in_1.0"), most=4),
        Dynamic(name="sequence", axes=("in_0.1", "in_1.1"), most=16),
    )
    program = export(capture(Attends(), given, "net", axes_of_project(free, given)))
    store = ArtifactStore(tmp_path / "store")
    package(program, TARGET, FORMAT.lower(program, TARGET, tmp_path / "l"), folder=tmp_path / "a", key="k", name="net")
    artifact = store.add(tmp_path / "a")
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        pushed = push(artifact, board.device, store, ledger)
    assert pushed.engine is not None
    assert pushed.engine.verdict.vectors == TRIED * 2 + TRIED + 4, "at the example's, the least and the largest sizes"
    assert (trtexec.log(board.tools).count("build"), trtexec.log(board.tools).count("outputs")) == (1, 2 * TRIED + 1)
    found = profile(artifact, board.device, store, sustain_s=0)
    assert found.remarks == ("free sizes were the example's: batch 2 (1 to 4), sequence 12 (1 to 16)",)
