from pathlib import Path

import numpy as np
import pytest

from edgekit.graph.farm import COPIES, farms
from edgekit.graph.signatures import CompiledGraph, Ran, compiled_graph

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

SHAPE = (1, 4, 8, 8)


def compiled(form: str = "f") -> CompiledGraph:
    """x -> Conv -> Relu -> Split into two -> Add, in plain ONNX; the weight in a file beside it."""
    kernel = numpy_helper.from_array(np.full((4, 4, 1, 1), 0.25, np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("Split", ["r"], ["a", "b"], name="split", axis=1, num_outputs=2),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    half = (1, 2, 8, 8)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", SHAPE), ("y", half))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    wrote = {"conv": [SHAPE], "relu": [SHAPE], "split": [half, half], "add": [half]}
    run = [Ran(name=n, op=n, outputs=tuple(("float", s) for s in shapes)) for n, shapes in wrote.items()]
    return compiled_graph(form, model.SerializeToString(), run)


def session(model: bytes):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def test_every_op_becomes_two_files_that_run_as_they_are() -> None:
    graph = compiled()
    [farm] = farms([graph], graph.signatures)
    assert [op.signature for op in farm.ops] == list(graph.signatures)
    for op in farm.ops:
        for model, copies in ((op.once, 1), (op.often, COPIES)):
            loaded = session(model)
            assert sorted(i.name for i in loaded.get_inputs()) == sorted(op.inputs)
            feed = {i.name: np.ones(i.shape, np.float32) for i in loaded.get_inputs()}
            shapes = loaded.run(None, feed)
            assert len(shapes) % copies == 0
            kinds = [n.op_type for n in onnx.load_model_from_string(model).graph.node]
            assert sum(kind != "Shape" for kind in kinds) == copies


def test_every_output_is_read_so_that_its_buffer_is_used_again() -> None:
    graph = compiled()
    [farm] = farms([graph], graph.signatures)
    for op in farm.ops:
        nodes = onnx.load_model_from_string(op.often).graph.node
        read = {name for node in nodes if node.op_type == "Shape" for name in node.input}
        written = {name for node in nodes if node.op_type != "Shape" for name in node.output}
        assert read == written
        graph_outputs = {value.name for value in onnx.load_model_from_string(op.often).graph.output}
        assert not graph_outputs & written


def test_the_capture_gives_the_activations_that_the_ops_meet_in_the_whole_graph() -> None:
    graph = compiled()
    [farm] = farms([graph], graph.signatures)
    loaded = session(farm.capture)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    found = dict(zip([o.name for o in loaded.get_outputs()], loaded.run(None, {"x": x}), strict=True))
    assert set(found) == {"c", "r", "a", "b"}
    np.testing.assert_allclose(found["r"], np.maximum(np.broadcast_to(x.mean(1, keepdims=True), SHAPE), 0), atol=1e-6)


def test_a_signature_is_cut_once_from_the_first_graph_that_has_it() -> None:
    first, second = compiled("one"), compiled("two")
    made = farms([first, second], [*first.signatures, *second.signatures])
    assert [farm.form for farm in made] == ["one"]


def test_only_what_is_wanted_is_cut() -> None:
    graph = compiled()
    [farm] = farms([graph], graph.signatures[3:])
    assert [op.inputs for op in farm.ops] == [("a", "b")]
    assert [o.name for o in session(farm.capture).get_outputs()] == ["a", "b"]
    assert farms([graph], []) == ()


def test_weights_beside_the_graph_stay_there(tmp_path: Path) -> None:
    graph = compiled()
    model = onnx.load_model_from_string(graph.model)
    onnx.save(model, tmp_path / "g.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    outside = (tmp_path / "g.onnx").read_bytes()
    [farm] = farms([CompiledGraph(form="f", model=outside, nodes=graph.nodes)], graph.signatures[:1])
    assert len(farm.ops[0].once) < 1000
    (tmp_path / "op.onnx").write_bytes(farm.ops[0].often)
    assert len(session(str(tmp_path / "op.onnx")).run(None, {"x": np.ones(SHAPE, np.float32)})) == COPIES
