"""What onnxruntime compiles of a small quantized net, priced over the local transport by the real agent."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench.session import Bench, Form
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.devices.agent import agent_folder, starting
from edgekit.devices.connect import connect
from edgekit.graph.farm import farms
from edgekit.graph.signatures import count_kinds, float_convolutions

onnx = pytest.importorskip("onnx")
SIZE = 24


def net(path: Path, *, int8: tuple[bool, ...], channels: int = 32) -> Path:
    """Convolutions one behind the other, 3x3 with a ReLU; those that are int8 have their q/dq around them."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    nodes, weights = [], []

    def add(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    def quantized(value: str) -> str:
        parts = [value, add(f"{value}_s", np.float32(0.02)), add(f"{value}_z", np.uint8(128 if value == "x" else 0))]
        nodes.append(helper.make_node("QuantizeLinear", parts, [f"{value}_q"], name=f"{value}_q"))
        nodes.append(
            helper.make_node("DequantizeLinear", [f"{value}_q", *parts[1:]], [f"{value}_d"], name=f"{value}_d")
        )
        return f"{value}_d"

    value, width = "x", 3
    for i, small in enumerate(int8):
        weight = draw.standard_normal((channels, width, 3, 3)).astype(np.float32) * 0.1
        if small:
            value = quantized(value) if not value.endswith("_d") else value
            scale = add(f"w{i}_s", np.full(channels, 0.003, np.float32))
            raw = add(f"w{i}", np.clip(np.rint(weight / 0.003), -127, 127).astype(np.int8))
            zero = add(f"w{i}_z", np.zeros(channels, np.int8))
            nodes.append(helper.make_node("DequantizeLinear", [raw, scale, zero], [f"w{i}_d"], name=f"w{i}_d", axis=0))
            kernel = f"w{i}_d"
        else:
            kernel = add(f"w{i}", weight)
        nodes.append(helper.make_node("Conv", [value, kernel], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"))
        value, width = (quantized(f"r{i}") if small else f"r{i}"), channels
    shapes = [("x", (1, 3, SIZE, SIZE)), (value, (1, channels, SIZE, SIZE))]
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes)
    graph = helper.make_graph(nodes, "g", [given], [made], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with connect(Device(name="local", transport="local")) as transport:
        yield Bench(transport, starting(sys.executable, agent_folder()), Options(threads=1, runtime="onnxruntime"))


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Form]:
    folder = tmp_path_factory.mktemp("forms")
    np.savez(folder / "v.npz", in_0=np.random.default_rng(1).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32))
    kinds = {"float": (False,) * 3, "int8": (True,) * 3, "mix": (False, True, True)}
    return {
        name: Form(id=name, path=str(net(folder / f"{name}.onnx", int8=int8)), inputs=str(folder / "v.npz"))
        for name, int8 in kinds.items()
    }


def test_the_compiled_graph_shows_which_convolutions_run_in_float(bench: Bench, forms: dict[str, Form]) -> None:
    compiled = bench.compile(list(forms.values()))
    assert [graph.form for graph in compiled] == ["float", "int8", "mix"]
    assert [float_convolutions(graph.nodes) for graph in compiled] == [3, 0, 1]
    kinds = count_kinds(compiled[1].nodes)
    assert sum(count for kind, count in kinds.items() if kind.endswith("QLinearConv")) == 3


def test_every_value_has_its_shape_in_the_runtimes_own_layouts_too(bench: Bench, forms: dict[str, Form]) -> None:
    for graph in bench.compile(list(forms.values())):
        assert all(node.signature is not None for node in graph.nodes)
        convolutions = [node.signature for node in graph.nodes if node.kind.endswith("Conv")]
        assert all(s is not None and len(s.inputs) >= 2 and len(s.inputs[0][1]) == 4 for s in convolutions)


def test_equal_forms_have_equal_signatures_and_nothing_is_left_on_the_device(
    bench: Bench, forms: dict[str, Form]
) -> None:
    before = sorted(Path(forms["mix"].path).parent.iterdir())
    one, other = bench.compile([forms["mix"], forms["mix"]])
    assert one.signatures == other.signatures
    assert sorted(Path(forms["mix"].path).parent.iterdir()) == before


def test_a_mix_is_priced_whole_from_the_traces_of_the_uniform_forms_and_a_farm(
    bench: Bench, forms: dict[str, Form]
) -> None:
    compiled = bench.compile(list(forms.values()))
    traces = [op for _, ops in bench.trace([forms["float"], forms["int8"]], calls=10) for op in ops]
    prices = bench.price_ops(list(forms.values()), compiled, traces=traces)
    for graph in compiled:
        assert set(graph.signatures) <= set(prices)
    assert {p.source for p in prices.values()} == {"trace", "farm"}
    assert all(0 <= p.low_s <= p.seconds <= p.high_s for p in prices.values())
    again = bench.price_ops(list(forms.values()), compiled, known=prices.values())
    assert again == prices, "what is known is not timed again"


def test_the_farm_runs_every_op_of_the_net_alone(bench: Bench, forms: dict[str, Form]) -> None:
    compiled = bench.compile([forms["mix"]])
    cut = farms(compiled, compiled[0].signatures)
    found = bench.farm([forms["mix"]], cut)
    assert set(found) == set(compiled[0].signatures)
    convolution = next(s for s in found if s.kind.endswith("QLinearConv"))
    assert 0 < found[convolution].seconds < 1
