"""What keeps a float layer float between quantized values."""

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_constant_, constant, drop_unused_, insert_behind_, made_by, scale_and_zero


def keep_float_(model: ir.Model) -> ir.Model:
    """Dequantizes what a float Conv or Gemm takes with a scale for each channel, all of them alike: the same values.

    Between a dequantize with one scale and a quantize, onnxruntime gives float weights an int8 scale of its own, one
    for the whole tensor (its pass WeightBiasQuantization), and a layer that a recipe leaves in float computes in int8,
    worse than any int8 layer of ours. A layer of a single channel cannot be told so and stays as it is.
    """
    for node in list(model.graph):
        channels = _channels(node)
        dequantize = made_by(node.inputs[0], "DequantizeLinear") if channels else None
        if dequantize is None:
            continue
        ends = [_for_each_(model.graph, end, channels) for end in scale_and_zero(dequantize)]
        name = f"{dequantize.outputs[0].name}_for_{node.outputs[0].name}"
        node.replace_input_with(
            0, insert_behind_(dequantize, "DequantizeLinear", [dequantize.inputs[0], *ends], name, axis=1)
        )
    return drop_unused_(model)


def _channels(node: ir.Node) -> int:
    """How many channels a layer with a float weight takes; 0 for any other node."""
    sizes = _sizes(node.inputs[1]) if node.op_type in ("Conv", "ConvTranspose", "Gemm") else None
    if sizes is None:
        return 0
    if node.op_type == "Conv":
        return sizes[1] * (node.attributes["group"].as_int() if "group" in node.attributes else 1)
    turned = node.op_type == "Gemm" and "transB" in node.attributes and bool(node.attributes["transB"].as_int())
    return sizes[1 if turned else 0]


def _sizes(weight: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of a float weight that is constant, or is made of constants alone when the file is loaded."""
    if weight is None or weight.shape is None or not _is_made_of_constants(weight):
        return None
    return tuple(int(size) for size in weight.shape)  # type: ignore[arg-type]


def _is_made_of_constants(value: ir.Value) -> bool:
    node = value.producer()
    if node is None:
        return value.const_value is not None
    return node.op_type not in ("QuantizeLinear", "DequantizeLinear") and all(
        _is_made_of_constants(taken) for taken in node.inputs if taken is not None
    )


def _for_each_(graph: ir.Graph, value: ir.Value | None, channels: int) -> ir.Value | None:
    """A scalar as a constant of one value a channel; what is no scalar is given back."""
    array = constant(value)
    if value is None or array is None or array.size != 1:
        return value
    return add_constant_(graph, f"{value.name}_of_{channels}", np.full(channels, array.reshape(-1)[0], array.dtype))
