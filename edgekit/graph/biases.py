"""Biases of a power-of-two file stored as int8, each behind a dequantize of its own: what a DPU adds to its sums."""

import math

import numpy as np
import onnx_ir as ir

from edgekit.errors import ConvertError
from edgekit.graph.values import add_constant_, constant, drop_unused_, made_by, scale_and_zero


def int8_biases_(model: ir.Model) -> ir.Model:
    """The bias of every int8 layer as int8 with a power of two as its scale. The numbers stay.

    Raises: ConvertError naming a bias that no such scale holds.
    """
    for node in list(model.graph):
        bias = node.inputs[2] if node.op_type in ("Conv", "Gemm") and len(node.inputs) > 2 else None
        values = constant(bias)
        takes = [made_by(value, "DequantizeLinear") for value in node.inputs[:2]]
        if bias is None or values is None or None in takes:
            continue
        power = _power(values, math.prod(_scale(dequantize) for dequantize in takes if dequantize is not None))
        steps = values / power
        if not np.array_equal(steps, np.clip(np.rint(steps), -127, 127)):
            raise ConvertError(f"{bias.name}: its values are no int8 steps of a power of two: quantize the model again")
        node.replace_input_with(2, _dequantized(model.graph, node, bias, steps, power))
    return drop_unused_(model)


def _power(values: np.ndarray, finest: float) -> np.float32:
    """The least power of two, from `finest` up, that holds `values` in 127 steps.

    >>> float(_power(np.array([1.0, -127.0]), 0.25))
    1.0
    """
    most = max(float(np.abs(values).max(initial=0.0)) / 127, finest)
    return np.float32(2.0 ** math.ceil(math.log2(most)))


def _scale(dequantize: ir.Node) -> float:
    scale = constant(scale_and_zero(dequantize)[0])
    if scale is None or scale.size != 1:
        raise ConvertError(f"{dequantize.name}: want one constant scale")
    return float(scale.reshape(()))


def _dequantized(graph: ir.Graph, node: ir.Node, bias: ir.Value, steps: np.ndarray, power: np.float32) -> ir.Value:
    stem = f"{bias.name}_of_{node.outputs[0].name}"
    held = add_constant_(graph, f"{stem}_int8", steps.astype(np.int8))
    ends = [
        add_constant_(graph, f"{stem}_scale", np.array(power)),
        add_constant_(graph, f"{stem}_zero", np.array(0, np.int8)),
    ]
    made = ir.node("DequantizeLinear", [held, *ends], name=f"{stem}_dq")
    made.outputs[0].name = f"{stem}_dq"
    graph.insert_before(node, made)
    return made.outputs[0]
