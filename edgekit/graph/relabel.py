"""The labels of int8: uint8 for onnxruntime on x86, and ReLUs behind a symmetric quantize. The numbers stay."""

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import (
    add_constant_,
    constant,
    drop_unused_,
    insert_behind_,
    made_by,
    readers,
    scale_and_zero,
)  # fmt: skip


def relabel_uint8_(model: ir.Model) -> ir.Model:
    """Activations as uint8: 128 is added to every zero point. The values computed are the same, to the bit.

    onnxruntime's fast int8 kernels on x86 take uint8 activations; with int8 ones, a quantized value that more than one
    op reads keeps its ops in float. Weights stay int8. Clips of quantized values move with them.
    """
    graph = model.graph
    for node in list(graph):
        if node.op_type == "Clip" and made_by(node.inputs[0], "QuantizeLinear") is not None:
            for i, bound in enumerate(node.inputs[1:], start=1):
                _shift_(graph, node, i, bound)
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear") and constant(node.inputs[0]) is None:
            _shift_(graph, node, 2, scale_and_zero(node)[1])
    return drop_unused_(model)


def _shift_(graph: ir.Graph, node: ir.Node, index: int, value: ir.Value | None) -> None:
    array = constant(value)
    if value is not None and array is not None and array.dtype == np.int8:
        shifted = (array.astype(np.int32) + 128).astype(np.uint8)
        node.replace_input_with(index, add_constant_(graph, f"{value.name}_u8", shifted))


def clip_behind_quantize_(model: ir.Model) -> ir.Model:
    """Moves a ReLU or ReLU6 in front of a quantize behind it, as a Clip of integers that takes over its name.

    The numbers are the same. Where the zero point is not the type's least value a quantize does not absorb the ReLU,
    and onnxruntime would run the layer in front of it in float: symmetric ones, and those that share their scale with
    values below zero.
    """
    for node in list(model.graph):
        relu = made_by(node.inputs[0], "Relu", "Clip") if node.op_type == "QuantizeLinear" else None
        if relu is None or len(readers(relu.outputs[0])) != 1:
            continue
        bounds = _in_steps(relu, node)
        if bounds is None or relu.outputs[0] in model.graph.outputs:
            continue
        node.replace_input_with(0, relu.inputs[0])
        steps, name = node.outputs[0], node.outputs[0].name
        takers = [use for use in steps.uses() if use.node is not node]
        names = [f"{name}_{side}" for side in ("least", "most")]
        limits = [add_constant_(model.graph, n, b) for n, b in zip(names, bounds, strict=True)]
        steps.name = f"{name}_unclipped"
        clipped = insert_behind_(node, "Clip", [steps, *limits], f"{name}_clip")
        clipped.name = name
        for use in takers:
            use.node.replace_input_with(use.idx, clipped)
    return drop_unused_(model)


def drop_clipped_relus_(model: ir.Model) -> ir.Model:
    """Removes a ReLU or ReLU6 whose quantize clips alike, at one end of its type or both: the same numbers.

    onnxruntime does so too, but too late for a linear layer over three dimensions, which it would run in float.
    """
    for node in list(model.graph):
        relu = made_by(node.inputs[0], "Relu", "Clip") if node.op_type == "QuantizeLinear" else None
        if relu is not None and relu.outputs[0] not in model.graph.outputs and _clips_alike(relu, node):
            node.replace_input_with(0, relu.inputs[0])
    return drop_unused_(model)


def _clips_alike(relu: ir.Node, quantize: ir.Node) -> bool:
    scale, zero = (constant(value) for value in scale_and_zero(quantize))
    known = scale is not None and zero is not None and scale.size == 1
    ends = [constant(value) is not None for value in relu.inputs[1:] if value is not None]
    return known and all(ends) and _in_steps(relu, quantize) is None


def part_weights_(model: ir.Model) -> ir.Model:
    """Gives each reader of a quantized weight a weight and a zero point of its own; one that was shared is doubled.

    On an x86 CPU whose 8-bit products saturate, onnxruntime can relabel weights to compute them exactly
    (`session.x64quantprecision`), and fails on what it has relabelled for another reader already.
    """
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear" or constant(node.inputs[0]) is None:
            continue
        for i in (0, 2):
            value = node.inputs[i] if i < len(node.inputs) else None
            array = constant(value)
            if value is not None and array is not None and len(readers(value)) > 1:
                node.replace_input_with(i, add_constant_(model.graph, f"{value.name}_of_{node.outputs[0].name}", array))
    return model


def _in_steps(relu: ir.Node, quantize: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """The least and the most that a ReLU lets through, in steps of `quantize`; None if the quantize clips alike."""
    scale, zero = (constant(value) for value in scale_and_zero(quantize))
    if scale is None or zero is None or scale.size != 1:
        return None
    kind = np.iinfo(zero.dtype)
    low, high = 0.0, np.inf
    if relu.op_type == "Clip":
        ends = [constant(value) for value in (*relu.inputs[1:], None, None)[:2]]
        low, high = (float(end) if end is not None else limit for end, limit in zip(ends, (-np.inf, high), strict=True))
    least, most = (
        np.clip(np.rint(np.float32(end) / scale.astype(np.float32)) + int(zero), kind.min, kind.max).astype(zero.dtype)
        for end in (low, high)
    )
    return None if least == kind.min and most == kind.max else (least.reshape(()), most.reshape(()))
