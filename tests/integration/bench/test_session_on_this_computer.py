"""A real runtime, driven by the real agent, over the local transport."""

import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench.session import Bench, Form, Plan
from edgekit.core.device import Device
from edgekit.core.measurement import Options, Round
from edgekit.devices.agent import agent_folder, starting
from edgekit.devices.connect import connect
from edgekit.errors import DeviceError

onnx = pytest.importorskip("onnx")
PLAN = Plan(least=3, most=3, seconds=0.01, per_process=2, warmup_s=0.2)


def matmuls(path: Path, count: int) -> Path:
    """`count` multiplications of a 1x256 input, one behind the other."""
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.full((256, 256), 0.001, np.float32), "w")
    nodes = [helper.make_node("MatMul", [f"v{i}" if i else "in_0", "w"], [f"v{i + 1}"]) for i in range(count)]
    value = [helper.make_tensor_value_info(n, 1, [1, 256]) for n in ("in_0", f"v{count}")]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def bench(tmp_path: Path):
    with connect(Device(name="local", transport="local")) as transport:
        yield Bench(transport, starting(sys.executable, agent_folder()), Options(threads=1, runtime="onnxruntime"))


@pytest.fixture
def forms(tmp_path: Path) -> tuple[Form, ...]:
    x = np.ones((2, 256), np.float32)
    y = x
    for _ in range(2):
        y = y @ np.full((256, 256), 0.001, np.float32)
    np.savez(tmp_path / "v.npz", in_0=x, out_0=y)
    return tuple(
        Form(id=f"m{n}", path=str(matmuls(tmp_path / f"{n}.onnx", n)), inputs=str(tmp_path / "v.npz")) for n in (2, 200)
    )


def test_a_form_of_a_hundred_times_the_work_is_slower(bench: Bench, forms: tuple[Form, ...]) -> None:
    heard: list[Round] = []
    rounds = bench.rounds(forms, "m2", PLAN, on_round=heard.append)
    assert tuple(heard) == rounds
    assert [r.index for r in rounds] == [0, 1, 2]
    found = bench.comparison(rounds, "local", "m2", "m200")
    assert found.verdict == "slower"
    assert found.ratio.value > 5


def test_an_interrupted_comparison_goes_on_where_it_was(bench: Bench, forms: tuple[Form, ...]) -> None:
    first = bench.rounds(forms, "m2", Plan(least=1, most=1, seconds=0.01, warmup_s=0.1))
    rounds = bench.rounds(forms, "m2", PLAN, done=first)
    assert rounds[:1] == first
    assert len(rounds) == 3


def test_a_measurement_says_what_was_seen_and_under_which_conditions(bench: Bench, forms: tuple[Form, ...]) -> None:
    version, conditions = bench.version()
    rounds = bench.rounds(forms, "m2", PLAN)
    peak = bench.peak_memory_bytes(forms[1])
    found = bench.measurement(rounds, forms[1], device="local", conditions=conditions, peak_memory_bytes=peak)
    assert found.conditions.runtime_version == version != ""
    assert found.wall.loads == 3
    assert found.wall.p50_s > 0
    assert peak is not None
    assert peak > 10_000_000


def test_test_vectors_that_fit_differ_by_rounding_and_others_by_more(bench: Bench, forms: tuple[Form, ...]) -> None:
    assert bench.vectors(forms[0])[0] < 1e-3
    assert bench.vectors(forms[1])[0] > 1e-3


def test_the_trace_times_every_node_of_the_compiled_graph(bench: Bench, forms: tuple[Form, ...]) -> None:
    [(graph, ops), _] = bench.trace(forms, calls=5)
    assert [op.signature.kind for op in ops] == ["MatMul", "MatMul"]
    assert ops[0].signature.inputs == (("float", (1, 256)), ("float", (256, 256)))
    assert all(op.seconds > 0 for op in ops)
    assert len(graph.model) < 10_000


def test_a_runtime_that_refuses_a_model_is_told_in_one_line(
    bench: Bench, forms: tuple[Form, ...], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"not a model")
    with pytest.raises(DeviceError, match="local: ") as caught:
        bench.rounds([Form(id="bad", path=str(bad), inputs=forms[0].inputs), forms[0]], "m2", PLAN)
    assert "\n" not in str(caught.value)


def test_calls_without_a_pause_are_told_second_by_second(bench: Bench, forms: tuple[Form, ...]) -> None:
    heard: list[float] = []
    found = bench.sustained(forms[0], 2.5, on_window=lambda window: heard.append(window.at_s))
    assert heard == sorted(heard)
    assert [w.at_s for w in found.windows] == heard
    assert heard[-1] >= 2.5
    assert all(w.p50_s <= w.p99_s for w in found.windows)
    assert (found.joules_per_call is None) == (found.sensor is None)
