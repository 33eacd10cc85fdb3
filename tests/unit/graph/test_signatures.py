import pytest

from edgekit.core.price import OpSignature
from edgekit.errors import ConvertError
from edgekit.graph.signatures import Ran, compiled_graph, count_kinds, float_convolutions

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402


def graph_of(*nodes: object, weights: tuple[object, ...] = ()) -> bytes:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4, 8, 8)) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", value[:1], value[1:], list(weights))
    return helper.make_model(graph).SerializeToString()


def weight(name: str, *shape: int, kind: int = TensorProto.FLOAT) -> object:
    count = 1
    for size in shape:
        count *= size
    return helper.make_tensor(name, kind, shape, [1] * count)


def nchwc(name: str, source: str, target: str, **attributes: object) -> object:
    return helper.make_node("Conv", [source, "w"], [target], name=name, domain="com.microsoft.nchwc", **attributes)


W = weight("w", 16, 4, 3, 3)
WROTE = (("float", (1, 16, 8, 8)),)


def test_a_signature_is_the_kind_the_shapes_and_the_attributes_that_matter() -> None:
    node = nchwc("c", "x", "y", group=1, pads=[1, 1, 1, 1], auto_pad="NOTSET", activation="Relu")
    found = compiled_graph("f", graph_of(node, weights=(W,)), [Ran(name="c", op="Conv", outputs=WROTE)])
    assert found.signatures == (
        OpSignature(
            kind="com.microsoft.nchwc.Conv",
            inputs=(("float", (1, 4, 8, 8)), ("float", (16, 4, 3, 3))),
            attributes=(("activation", "Relu"), ("group", "1"), ("pads", "1,1,1,1")),
        ),
    )
    assert found.nodes[0].outputs == WROTE


def test_shapes_that_the_file_lacks_come_from_the_run() -> None:
    nodes = (nchwc("a", "x", "v"), nchwc("b", "v", "y"))
    run = [Ran(name=name, op="Conv", outputs=WROTE) for name in ("a", "b")]
    found = compiled_graph("f", graph_of(*nodes, weights=(W,)), run)
    assert found.signatures[1].inputs[0] == ("float", (1, 16, 8, 8))


def test_scalars_do_not_tell_ops_apart() -> None:
    def one(scale: str) -> OpSignature:
        node = helper.make_node("QuantizeLinear", ["x", scale, "z"], ["y"], name="q", axis=1)
        weights = (weight("s", 1), weight("t"), weight("z", kind=TensorProto.UINT8))
        return compiled_graph("f", graph_of(node, weights=weights), []).signatures[0]

    assert one("s") == one("t") == OpSignature(kind="QuantizeLinear", inputs=(("float", (1, 4, 8, 8)),))


def test_nodes_without_a_name_are_found_by_their_turn() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["v"]), helper.make_node("Relu", ["v"], ["y"])]
    run = [Ran(name=f"Relu_{i}", op="Relu", outputs=(("float", (1, 4, 8, 8)),)) for i in (3, 7)]
    found = compiled_graph("f", graph_of(*nodes), run)
    assert [node.name for node in found.nodes] == ["Relu_3", "Relu_7"]
    assert found.nodes[1].signature is not None


def test_an_op_whose_input_has_no_known_shape_has_no_signature_and_keeps_its_kind() -> None:
    nodes = (nchwc("a", "x", "v"), nchwc("b", "v", "y"))
    found = compiled_graph("f", graph_of(*nodes, weights=(W,)), [])
    assert found.nodes[1].signature is None
    assert found.signatures[1] == OpSignature(kind="com.microsoft.nchwc.Conv", inputs=())


def test_kinds_are_counted_and_what_runs_in_float_with_them() -> None:
    nodes = [
        nchwc("a", "x", "v"),
        helper.make_node("QLinearConv", ["x"], ["y"], name="b", domain="com.microsoft"),
        helper.make_node("Gemm", ["v"], ["y2"], name="c"),
    ]
    found = compiled_graph("f", graph_of(*nodes, weights=(W,)), [])
    assert count_kinds(found.nodes)["com.microsoft.QLinearConv"] == 1
    assert float_convolutions(found.nodes) == 2


def test_what_is_no_graph_is_refused_by_the_forms_name() -> None:
    with pytest.raises(ConvertError, match="m1: the compiled graph"):
        compiled_graph("m1", b"\xff\xff\xff not protobuf", [])
