"""Each pass over a lowered file keeps what it computes, to the bit, with the runtime's own optimizations off."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ConvertError, TargetError
from edgekit.graph.ceiling import keep_ceiling_
from edgekit.graph.floats import keep_float_
from edgekit.graph.fold import fold_weights_, pad_inside_, pool_globally_, split_by_sizes_
from edgekit.graph.mix import mix
from edgekit.graph.relabel import clip_behind_quantize_, part_weights_, relabel_uint8_

SHAPE = [2, 4, 9, 9]


def constant(name: str, values: object, kind: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, kind), name)


def file(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], shape: list[int] = SHAPE) -> ir.Model:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "net", [x], [y], constants)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def quantizes(value: str, made: str, grid: str = "") -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear of `value`, which gives `made`."""
    ends = [f"scale{grid}", f"zero{grid}"]
    return [
        helper.make_node("QuantizeLinear", [value, *ends], [f"{made}_q"], name=f"{made}_q"),
        helper.make_node("DequantizeLinear", [f"{made}_q", *ends], [made], name=made),
    ]


def grid(scale: float, zero: int, name: str = "") -> list[onnx.TensorProto]:
    return [constant(f"scale{name}", scale), constant(f"zero{name}", zero, np.int8)]


def outputs(model: ir.Model, shape: list[int] = SHAPE, spread: float = 1.5) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    raw = ir.to_proto(model).SerializeToString()
    session = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    x = (spread * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    return session.run(None, {"x": x})[0]


def ops(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def unchanged(model: ir.Model, passed: Callable[[ir.Model], ir.Model], shape: list[int] = SHAPE) -> ir.Model:
    before = outputs(model, shape)
    passed(model)
    for node in model.graph:
        for value in node.outputs:
            if value not in model.graph.outputs:
                value.shape = value.type = None
    assert np.array_equal(outputs(model, shape), before)
    return model


def convolution(padded: str, weight: str = "w") -> onnx.NodeProto:
    return helper.make_node("Conv", [padded, weight], ["conv"], name="conv", strides=[2, 2], pads=[1, 0, 0, 1])


WEIGHT = constant("w", np.random.default_rng(1).standard_normal((3, 4, 3, 3)))
SIDES = constant("sides", [0, 0, 0, 1, 0, 0, 2, 3], np.int64)


def test_relabelled_as_uint8_a_file_computes_the_same_bits() -> None:
    nodes = [
        *quantizes("x", "dx"),
        helper.make_node("Relu", ["dx"], ["r"]),
        *quantizes("r", "dr", "2"),
        helper.make_node("Add", ["dx", "dr"], ["s"]),
        *quantizes("s", "y"),
    ]
    model = unchanged(file(nodes, [*grid(0.03, 11), *grid(0.02, -128, "2")]), relabel_uint8_)
    zeros = {
        int(i.const_value.numpy()): i.dtype for i in model.graph.initializers.values() if i.name.startswith("zero")
    }  # type: ignore[union-attr]
    assert zeros == {139: ir.DataType.UINT8, 0: ir.DataType.UINT8}


@pytest.mark.parametrize("zero", [0, -7])
@pytest.mark.parametrize("bounds", [None, (0.0, 6.0), (-1.0, 1.0), (0.0, 0.4)])
def test_a_relu_moves_behind_a_quantize_as_integers(bounds: tuple[float, float] | None, zero: int) -> None:
    relu = helper.make_node("Clip", ["x", "low", "high"], ["r"]) if bounds else helper.make_node("Relu", ["x"], ["r"])
    ends = [constant("low", bounds[0]), constant("high", bounds[1])] if bounds else []
    model = unchanged(file([relu, *quantizes("r", "y")], [*grid(0.025, zero), *ends]), clip_behind_quantize_)
    assert [node.op_type for node in model.graph] == ["QuantizeLinear", "Clip", "DequantizeLinear"]
    assert [node.outputs[0].name for node in model.graph] == ["y_q_unclipped", "y_q", "y"], "the Clip has the name"
    unchanged(model, relabel_uint8_)


def test_a_relu_that_the_quantize_absorbs_stays_where_it_is() -> None:
    relu = helper.make_node("Relu", ["x"], ["r"])
    model = clip_behind_quantize_(file([relu, *quantizes("r", "y")], grid(0.02, -128)))
    assert ops(model) == {"Relu": 1, "QuantizeLinear": 1, "DequantizeLinear": 1}


def test_a_padding_goes_into_its_convolution() -> None:
    pad = helper.make_node("Pad", ["x", "sides"], ["p"])
    model = unchanged(file([pad, convolution("p"), identity("conv")], [WEIGHT, SIDES]), pad_inside_)
    assert ops(model) == {"Conv": 1, "Identity": 1}
    (conv,) = (n for n in model.graph if n.op_type == "Conv")
    assert list(conv.attributes["pads"].as_ints()) == [1, 1, 2, 4]


def identity(value: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [value], ["y"])


@pytest.mark.parametrize("before", [True, False])
def test_a_padding_between_quantized_values_goes_too_and_leaves_one_quantize(before: bool) -> None:
    first = quantizes("x", "dx") if before else []
    pad = helper.make_node("Pad", ["dx" if before else "x", "sides"], ["p"])
    nodes = [*first, pad, *quantizes("p", "dp"), convolution("dp"), identity("conv")]
    model = unchanged(file(nodes, [WEIGHT, SIDES, *grid(0.03, 9)]), pad_inside_)
    assert ops(model) == {"QuantizeLinear": 1, "DequantizeLinear": 1, "Conv": 1, "Identity": 1}


@pytest.mark.parametrize("why", ["value", "reader", "channels"])
def test_a_padding_that_is_more_than_the_convolutions_stays(why: str) -> None:
    inputs = ["x", "sides", *(["one"] if why == "value" else [])]
    sides = constant("sides", [0, 2, 0, 0, 0, 2, 0, 0], np.int64) if why == "channels" else SIDES
    weight = constant("w", np.ones((3, 8, 3, 3))) if why == "channels" else WEIGHT
    nodes = [helper.make_node("Pad", inputs, ["p"]), convolution("p")]
    if why == "reader":
        nodes += [helper.make_node("ReduceMax", [v], [f"{v}_top"], keepdims=0) for v in ("p", "conv")]
        nodes.append(helper.make_node("Add", ["p_top", "conv_top"], ["y"]))
    else:
        nodes.append(identity("conv"))
    model = unchanged(file(nodes, [weight, sides, constant("one", 1.0)]), pad_inside_)
    assert ops(model)["Pad"] == 1


@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_mean_over_the_image_becomes_a_global_pool(keep: int, axes: list[int]) -> None:
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=keep)
    model = file([mean, *quantizes("m", "y")], [constant("axes", axes, np.int64), *grid(0.05, 3)])
    model = unchanged(model, pool_globally_)
    assert (ops(model)["GlobalAveragePool"], ops(model)["ReduceMean"]) == (1, 0)
    assert ops(model)["QuantizeLinear"] == (1 if keep else 2)


def test_a_mean_over_something_else_stays() -> None:
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    assert ops(pool_globally_(file([mean], [constant("axes", [1], np.int64)])))["ReduceMean"] == 1


def test_weights_are_stored_as_the_int8_that_they_are_rounded_to() -> None:
    values = np.random.default_rng(2).standard_normal((3, 4, 3, 3)).astype(np.float32)
    scale = np.abs(values).max(axis=(1, 2, 3)) / 127
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], axis=0, name="q"),
        helper.make_node("Clip", ["q", "low", "high"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["dw"], axis=0, name="dw"),
        convolution("x", "dw"),
        identity("conv"),
    ]
    bounds = [constant("low", -127, np.int8), constant("high", 127, np.int8), constant("z", [0] * 3, np.int8)]
    model = unchanged(file(nodes, [constant("w", values), constant("s", scale), *bounds]), fold_weights_)
    assert ops(model) == {"DequantizeLinear": 1, "Conv": 1, "Identity": 1}
    stored = model.graph.initializers["w_int8"].const_value
    assert stored is not None
    assert (stored.dtype, stored.numpy().min() >= -127) == (ir.DataType.INT8, True)
    assert "w" not in model.graph.initializers


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_what_a_float_layer_takes_is_dequantized_channel_by_channel_with_one_scale(kind: str) -> None:
    shape = SHAPE if kind == "Conv" else [2, 4]
    weight = WEIGHT if kind == "Conv" else constant("w", np.random.default_rng(1).standard_normal((4, 3)))
    layer = convolution("dx") if kind == "Conv" else helper.make_node("Gemm", ["dx", "w"], ["conv"])
    nodes = [*quantizes("x", "dx"), layer, *quantizes("conv", "y")]
    model = unchanged(file(nodes, [weight, *grid(0.03, 9)], shape), keep_float_, shape)
    first, last = (n for n in model.graph if n.op_type == "DequantizeLinear")
    sizes = [[value.const_value.numpy().size for value in n.inputs[1:]] for n in (first, last)]  # type: ignore[union-attr]
    assert sizes == [[4, 4], [1, 1]]


def test_what_an_int8_layer_takes_keeps_its_one_scale() -> None:
    nodes = [*quantizes("x", "dx"), *quantizes("w", "dw"), convolution("dx", "dw"), *quantizes("conv", "y")]
    model = fold_weights_(file(nodes, [WEIGHT, *grid(0.03, 9)]))
    before = len(list(model.graph))
    unchanged(model, keep_float_)
    assert len(list(model.graph)) == before
    assert all(
        value.const_value.numpy().size == 1 for n in model.graph if n.op_type[0] in "QD" for value in n.inputs[1:]
    )  # type: ignore[union-attr]


def test_a_split_says_its_sizes() -> None:
    split = helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=2)
    model = unchanged(file([split, helper.make_node("Sub", ["a", "b"], ["y"])], []), split_by_sizes_)
    assert keep_ceiling_(model, opset=13, ir_version=8).opset_imports[""] == 13


def test_a_mix_leaves_the_file_that_it_comes_from_as_it_was() -> None:
    nodes = [*quantizes("x", "dx"), convolution("dx"), *quantizes("conv", "y")]
    full = file(nodes, [WEIGHT, *grid(0.03, 9)])
    before = outputs(full)
    part = mix(full, {"dx"}, {})
    assert (ops(part)["QuantizeLinear"], ops(full)["QuantizeLinear"]) == (1, 2)
    assert not np.array_equal(outputs(part), before)
    assert np.array_equal(outputs(full), before)
    assert ops(mix(full, {"dx", "y"}, {})) == {"Conv": 1}


@pytest.mark.parametrize(
    ("names", "floats", "said"), [({"nose"}, {}, "lost nose"), (set(), {"b": np.ones(1)}, "lost b")]
)
def test_a_mix_of_a_file_that_lacks_what_is_named_is_refused(
    names: set[str], floats: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(ConvertError, match=said):
        mix(file([identity("x")], []), names, floats)


def test_what_an_older_opset_writes_otherwise_is_rewritten() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=1),
        helper.make_node("Reshape", ["m", "shape"], ["y"], allowzero=1),
    ]
    constants = [constant("axes", [1, 3], np.int64), constant("shape", [2, 9], np.int64)]
    model = file(nodes, constants)
    before = outputs(model)
    keep_ceiling_(model, opset=13, ir_version=7)
    assert (model.opset_imports[""], model.ir_version) == (13, 7)
    assert np.array_equal(outputs(model), before)


def test_what_an_older_opset_does_anyway_is_left_unsaid() -> None:
    twice = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], mode="nearest", keep_aspect_ratio_policy="stretch", antialias=0,
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    model = file([twice], [constant("scales", [1.0, 1.0, 2.0, 2.0])])
    before = outputs(model)
    keep_ceiling_(model, opset=17, ir_version=8)
    assert "keep_aspect_ratio_policy" not in next(iter(model.graph)).attributes
    assert np.array_equal(outputs(model), before)


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (helper.make_node("Gelu", ["x"], ["y"], name="g"), r"^node g: op Gelu cannot.*opset 17.*newer"),
        (helper.make_node("AveragePool", ["x"], ["y"], name="a", kernel_shape=[2, 2], dilations=[2, 2]), "dilations"),
    ],
)
def test_what_an_older_opset_cannot_hold_is_refused_by_name(node: onnx.NodeProto, said: str) -> None:
    with pytest.raises(TargetError, match=said):
        keep_ceiling_(file([node], []), opset=17, ir_version=8)


def test_a_ceiling_below_what_edgekit_writes_is_refused() -> None:
    with pytest.raises(TargetError, match="opset 11 at most"):
        keep_ceiling_(file([identity("x")], []), opset=11, ir_version=6)


def test_two_readers_of_a_weight_get_one_each_where_it_is_relabelled() -> None:
    weight = np.random.default_rng(0).integers(-127, 128, (4, 4, 3, 3))
    reads = [
        helper.make_node("DequantizeLinear", ["w_q", "scale", "zero"], [made], name=made) for made in ("w", "w_again")
    ]
    again = helper.make_node("Conv", ["conv", "w_again"], ["y"], name="again")
    constants = [constant("w_q", weight, np.int8), *grid(0.01, 0)]
    model = unchanged(file([*reads, convolution("x"), again], constants), part_weights_)
    read = [node.inputs[i].name for node in model.graph if node.op_type == "DequantizeLinear" for i in (0, 2)]
    assert len(set(read)) == 4
