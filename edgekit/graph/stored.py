"""Layers whose weights alone are stored in fewer bits, in the form that onnxruntime runs as fast as float or faster.

A DequantizeLinear of a weight runs at every call, or becomes a MatMulNBits that quantizes the activations as well. So:
int8 weights are cast and scaled by plain ops, which are computed once when the file is loaded, as are 4-bit weights of
convolutions, two of them in a byte; 4-bit weights of linear layers are those of a MatMulNBits that computes in float32.
"""

import numpy as np
import onnx_ir as ir

from edgekit.graph.dynamic import int8_layer_, measure_once_
from edgekit.graph.values import add_constant_, drop_unused_, insert_before_, take_place_
from edgekit.graph.weights import StoredLayers, Weight, layers_of, stored_in

MICROSOFT = "com.microsoft"
FLOAT32 = 1
"""What MatMulNBits calls its accuracy level: how activations are computed with."""
BLOCKS = (128, 64, 32, 16)
"""Inputs that share a scale in a MatMulNBits, where a whole row shares one."""


def store_(model: ir.Model, stored: StoredLayers) -> ir.Model:
    """`model`, its weights stored as steps by now, with each layer in the form that onnxruntime runs fast."""
    measure_once_(model)
    for weight, (_, precision) in stored_in(model, stored):
        node = weight.dequantize
        for reader in list(layers_of(node.outputs[0])):
            if precision == "int8-dynamic":
                int8_layer_(reader, weight.steps, weight.scales, weight.name)
            elif precision == "int4-weights" and reader.op_type in ("MatMul", "Gemm") and _has_blocks(weight):
                _multiply_by_four_bits_(model, reader, weight)
        if node.outputs[0].uses():
            _scale_when_loaded_(node, weight, bits=4 if precision == "int4-weights" else 8)
    return drop_unused_(model)


def _has_blocks(weight: Weight) -> bool:
    """Whether what shares a scale is a whole row, or a block of a size that MatMulNBits has."""
    inputs = weight.steps.shape[1]
    group = weight.steps.size // weight.scales.size
    return weight.steps.ndim == 2 and (group == inputs or (group >= BLOCKS[-1] and group & (group - 1) == 0))


def _multiply_by_four_bits_(model: ir.Model, node: ir.Node, weight: Weight) -> None:
    """`node` as a MatMulNBits, and an Add of the bias that a Gemm has."""
    outputs, inputs = weight.steps.shape
    groups = weight.scales.size // outputs
    block = inputs // groups if groups > 1 else next((size for size in BLOCKS if inputs % size == 0), BLOCKS[-2])
    count = -(-inputs // block)
    padded = np.pad(weight.steps, ((0, 0), (0, count * block - inputs)))
    packed = _packed((padded + 8).reshape(outputs, count, block // 2, 2))
    scales = weight.scales if groups > 1 else np.repeat(weight.scales, count)
    values = [add_constant_(model.graph, f"{weight.name}_int4", packed)]
    values.append(add_constant_(model.graph, f"{weight.name}_scales", scales.astype(np.float32)))
    model.graph.opset_imports[MICROSOFT] = 1
    made = insert_before_(
        node, "MatMulNBits", [node.inputs[0], *values], f"{node.outputs[0].name}_bits", domain=MICROSOFT,
        K=inputs, N=outputs, bits=4, block_size=block, accuracy_level=FLOAT32,
    )  # fmt: skip
    if node.op_type == "Gemm" and len(node.inputs) > 2 and node.inputs[2] is not None:
        made = insert_before_(node, "Add", [made, node.inputs[2]], f"{node.outputs[0].name}_sum")
    take_place_(node, made)


def _scale_when_loaded_(node: ir.Node, weight: Weight, *, bits: int) -> None:
    """The weight by ops over constants alone; in 4 bits, the first half of it lies in the low ones of each byte."""
    graph = node.graph
    assert graph is not None  # a node of a file is in a graph
    name, rows = weight.name, weight.scales.size
    shape = [rows, -1] if bits == 4 else [rows] + [1] * (weight.steps.ndim - 1)
    each = weight.scales.astype(np.float32).reshape([rows, 1] if bits == 4 else shape)
    scales = add_constant_(graph, f"{name}_scales", each)
    if bits == 4:
        steps = _unpacked_(graph, node, weight, shape)
        made = insert_before_(node, "Mul", [steps, scales], f"{name}_scaled")
        if rows == len(weight.steps):
            whole = add_constant_(graph, f"{name}_shape", np.array(weight.steps.shape, np.int64))
            made = insert_before_(node, "Reshape", [made, whole], f"{name}_whole")
    else:
        steps = insert_before_(node, "Cast", [node.inputs[0]], f"{name}_cast", to=ir.DataType.FLOAT.value)
        made = insert_before_(node, "Mul", [steps, scales], f"{name}_scaled")
    take_place_(node, made)


def _unpacked_(graph: ir.Graph, node: ir.Node, weight: Weight, shape: list[int]) -> ir.Value:
    """The float steps of a 4-bit weight, in rows, from bytes that hold two of them each."""
    name, flat = weight.name, (weight.steps.reshape(-1) + 8).astype(np.uint8)
    half = -(-flat.size // 2)
    pairs = np.stack([flat[:half], np.pad(flat[half:], (0, 2 * half - flat.size))], axis=-1)
    held = add_constant_(graph, f"{name}_int4", _packed(pairs))
    four, eight = (
        add_constant_(graph, f"number_{n}", np.array(n, kind)) for n, kind in ((4, np.uint8), (8, np.float32))
    )
    high = insert_before_(node, "BitShift", [held, four], f"{name}_high", direction="RIGHT")
    moved = insert_before_(node, "BitShift", [held, four], f"{name}_moved", direction="LEFT")
    low = insert_before_(node, "BitShift", [moved, four], f"{name}_low", direction="RIGHT")
    both = insert_before_(node, "Concat", [low, high], f"{name}_bytes", axis=0)
    if 2 * half > flat.size:
        ends = [add_constant_(graph, f"number_{n}_of_1", np.array([n], np.int64)) for n in (0, flat.size)]
        both = insert_before_(node, "Slice", [both, *ends], f"{name}_without_last")
    floats = insert_before_(node, "Cast", [both], f"{name}_cast", to=ir.DataType.FLOAT.value)
    signed = insert_before_(node, "Sub", [floats, eight], f"{name}_steps")
    return insert_before_(node, "Reshape", [signed, add_constant_(graph, f"{name}_rows", np.array(shape))], f"{name}_r")


def _packed(pairs: np.ndarray) -> np.ndarray:
    """Bytes of the pairs along the last axis, the first of each in the low four bits.

    >>> _packed(np.array([[1, 2], [15, 0]])).tolist()
    [33, 15]
    """
    return (pairs[..., 0] | (pairs[..., 1] << 4)).astype(np.uint8)
