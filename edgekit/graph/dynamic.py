"""Layers whose activations are quantized at run time, in the form that onnxruntime fuses and runs in integers.

A linear layer is what its passes make one DynamicQuantizeMatMul of; a convolution is a ConvInteger with unsigned
weights, for which there are fast kernels. One over groups of channels has none: its steps are dequantized and it runs
in float.
"""

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_constant_, insert_before_, made_by, take_place_


def measure_once_(model: ir.Model) -> ir.Model:
    """A DynamicQuantizeLinear gives the steps of what it measures; exported, a QuantizeLinear beside it does."""
    for node in list(model.graph):
        scale = node.inputs[1] if node.op_type == "QuantizeLinear" else None
        measure = made_by(scale, "DynamicQuantizeLinear")
        if measure is not None and measure.inputs[0] is node.inputs[0]:
            for use in list(node.outputs[0].uses()):
                use.node.replace_input_with(use.idx, measure.outputs[0])
    return model


def int8_layer_(node: ir.Node, steps: np.ndarray, scales: np.ndarray, name: str) -> None:
    """A layer behind a measured value in integers, if there is a fast form of it; `steps` as torch has its weights."""
    dequantize = made_by(node.inputs[0], "DequantizeLinear")
    measure = made_by(dequantize.inputs[0], "DynamicQuantizeLinear") if dequantize is not None else None
    graph = node.graph
    if measure is None or graph is None:
        return
    value, scale, zero = measure.outputs
    made = str(node.outputs[0].name)
    if node.op_type in ("MatMul", "Gemm"):
        weight = add_constant_(graph, f"{name}_int8", np.ascontiguousarray(steps.T.astype(np.int8)))
        sums = insert_before_(node, "MatMulInteger", [value, weight, zero], f"{made}_sums")
        each: tuple[int, ...] = (len(steps),)
    elif node.op_type == "Conv" and _groups(node) == 1:
        weight = add_constant_(graph, f"{name}_uint8", (steps.astype(np.int16) + 128).astype(np.uint8))
        middle = add_constant_(graph, "middle_of_uint8", np.array(128, np.uint8))
        kept = {key: attribute.value for key, attribute in node.attributes.items()}
        sums = insert_before_(node, "ConvInteger", [value, weight, zero, middle], f"{made}_sums", **kept)
        each = (1, len(steps), *[1] * (steps.ndim - 2))
    else:
        return
    floats = insert_before_(node, "Cast", [sums], f"{made}_cast", to=ir.DataType.FLOAT.value)
    own = add_constant_(graph, f"{name}_scales_of_{len(each)}", scales.astype(np.float32).reshape(each))
    both = insert_before_(node, "Mul", [scale, own], f"{made}_scales")
    result = insert_before_(node, "Mul", [floats, both], f"{made}_scaled")
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        result = insert_before_(node, "Add", [result, _along(graph, bias, each)], f"{made}_sum")
    take_place_(node, result)


def _groups(node: ir.Node) -> int:
    return node.attributes["group"].as_int() if "group" in node.attributes else 1


def _along(graph: ir.Graph, bias: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    array = None if bias.const_value is None else bias.const_value.numpy()
    if array is None or len(shape) == 1:
        return bias
    return add_constant_(graph, f"{bias.name}_of_{len(shape)}", array.reshape(shape))
