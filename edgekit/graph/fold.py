"""Constants computed ahead: int8 weights stored as int8, paddings in their convolutions, pools as one op."""

import numpy as np
import onnx_ir as ir

from edgekit.errors import ConvertError
from edgekit.graph.values import (
    add_constant_,
    constant,
    drop_unused_,
    insert_behind_,
    made_by,
    readers,
    same_grid,
    scale_and_zero,
)  # fmt: skip


def fold_weights_(model: ir.Model) -> ir.Model:
    """Stores quantized weights as int8: QuantizeLinear (and the Clip behind it) of a constant is computed now."""
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear":
            continue
        clip = made_by(node.inputs[0], "Clip")
        quantize = made_by(node.inputs[0] if clip is None else clip.inputs[0], "QuantizeLinear")
        if quantize is None or (weight := _constant_rows(quantize.inputs[0])) is None:
            continue
        source = quantize.inputs[0]
        steps = _steps(weight, quantize, _bounds(clip))
        name = f"{source.name if source is not None else node.name}_int8"
        there = constant(model.graph.initializers.get(name))
        if there is not None and not np.array_equal(there, steps):
            name = f"{name}_{node.outputs[0].name}"
        node.replace_input_with(0, add_constant_(model.graph, name, steps))
    return drop_unused_(model)


def halve_constants_(model: ir.Model) -> ir.Model:
    """Stores what is cast from a constant to a half as that half."""
    for node in list(model.graph):
        array = constant(node.inputs[0]) if node.op_type == "Cast" else None
        kind = ir.DataType(node.attributes["to"].as_int()) if array is not None else None
        if array is None or kind not in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            continue
        half = add_constant_(model.graph, f"{node.outputs[0].name}_half", array.astype(kind.numpy()))
        for use in list(node.outputs[0].uses()):
            use.node.replace_input_with(use.idx, half)
    return drop_unused_(model)


def _constant_rows(value: ir.Value | None) -> np.ndarray | None:
    """As `constant`, of a constant that is reshaped too."""
    reshape = made_by(value, "Reshape")
    whole, shape = (constant(v) for v in reshape.inputs[:2]) if reshape is not None else (None, None)
    return constant(value) if whole is None or shape is None else whole.reshape([int(size) for size in shape])


def _steps(weight: np.ndarray, quantize: ir.Node, bounds: tuple[int, int]) -> np.ndarray:
    """`weight` in int8 as torch computes it: times the reciprocal of the scale, in float32."""
    scale = constant(scale_and_zero(quantize)[0])
    if scale is None:
        raise ConvertError(f"{quantize.name}: the scale of a weight is not constant")
    axis = quantize.attributes["axis"].as_int() if "axis" in quantize.attributes else 1
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)] if scale.ndim else []
    inverse = np.float32(1) / scale.astype(np.float32).reshape(shape)
    return np.clip(np.rint(weight * inverse), *bounds).astype(np.int8)


def _bounds(clip: ir.Node | None) -> tuple[int, int]:
    if clip is None:
        return -128, 127
    low, high = (constant(value) for value in clip.inputs[1:3])
    if low is None or high is None:
        raise ConvertError(f"{clip.name}: the bounds of a weight are not constant")
    return int(low), int(high)


def pool_globally_(model: ir.Model) -> ir.Model:
    """A mean over height and width becomes GlobalAveragePool, which has an int8 kernel; ReduceMean has none.

    Where the mean drops the two dimensions, a Reshape follows, behind a q/dq of the same scale.
    """
    for node in list(model.graph):
        value = node.inputs[0] if node.op_type == "ReduceMean" else None
        if value is None or value.shape is None or len(value.shape) != 4 or not _over_height_and_width(node):
            continue
        keep = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
        result = node.outputs[0]
        pooled = insert_behind_(node, "GlobalAveragePool", [value], f"{result.name}_pooled")
        if not keep:
            pooled = _flattened_(model.graph, pooled, result)
        for use in list(result.uses()):
            use.node.replace_input_with(use.idx, pooled)
        for i, output in enumerate(model.graph.outputs):
            if output is result:
                pooled.shape, pooled.type = result.shape, result.type
                model.graph.outputs[i] = pooled
        model.graph.remove(node, safe=True)
    return drop_unused_(model)


def _over_height_and_width(mean: ir.Node) -> bool:
    axes = constant(mean.inputs[1]) if len(mean.inputs) > 1 else None
    return axes is not None and sorted(int(a) % 4 for a in axes.ravel()) == [2, 3]


def _flattened_(graph: ir.Graph, pooled: ir.Value, result: ir.Value) -> ir.Value:
    """`pooled` without its last two dimensions of one, behind the q/dq that `result` is quantized by, if it is."""
    last = pooled.producer()
    quantizes = [node for node in readers(result) if node.op_type == "QuantizeLinear"]
    if last is not None and quantizes and len(readers(result)) == 1:
        grid = list(scale_and_zero(quantizes[0]))
        steps = insert_behind_(last, "QuantizeLinear", [pooled, *grid], f"{pooled.name}_q")
        last = steps.producer()
        if last is not None:
            pooled = insert_behind_(last, "DequantizeLinear", [steps, *grid], f"{pooled.name}_dq")
            last = pooled.producer()
    axes = add_constant_(graph, "height_and_width", np.array([2, 3], np.int64))
    if last is None:
        raise ConvertError(f"{result.name}: a mean of nothing")
    return insert_behind_(last, "Squeeze", [pooled, axes], f"{result.name}_squeezed")


def split_by_sizes_(model: ir.Model) -> ir.Model:
    """A Split says the size of each part, not their number: older opsets know no other."""
    for node in list(model.graph):
        if node.op_type != "Split" or "num_outputs" not in node.attributes:
            continue
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        sizes = [None if value.shape is None else value.shape[axis] for value in node.outputs]
        if all(isinstance(size, int) for size in sizes):
            array = np.array(sizes, np.int64)
            node.resize_inputs(2)
            node.replace_input_with(1, add_constant_(model.graph, f"{node.outputs[0].name}_sizes", array))
            del node.attributes["num_outputs"]
    return model


def pad_inside_(model: ir.Model) -> ir.Model:
    """A padding with zeros in front of convolutions, and of nothing else, becomes their own padding.

    A q/dq between the two stays in front of the convolution: zero is one of its steps.
    """
    for pad in list(model.graph):
        if pad.op_type != "Pad" or (sides := _zero_sides(pad)) is None:
            continue
        quantizes = readers(pad.outputs[0])
        ends = [pad.outputs[0]]
        if len(quantizes) == 1 and quantizes[0].op_type == "QuantizeLinear":
            ends = [n.outputs[0] for n in readers(quantizes[0].outputs[0]) if n.op_type == "DequantizeLinear"]
        convolutions = [node for value in ends for node in readers(value)]
        if not convolutions or not all(_pads_itself(node, ends) for node in convolutions):
            continue
        for node in convolutions:
            own = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else [0] * len(sides)
            node.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(own, sides, strict=True)])
        _skip_(pad)
    return drop_unused_(model)


def _zero_sides(pad: ir.Node) -> tuple[int, ...] | None:
    """What is added before and after each dimension in space; None if it is no padding of images with zeros."""
    mode = pad.attributes["mode"].as_string() if "mode" in pad.attributes else "constant"
    sides = constant(pad.inputs[1])
    value = pad.inputs[2] if len(pad.inputs) > 2 else None
    zero = value is None or (constant(value) is not None and not np.any(constant(value)))
    if mode != "constant" or sides is None or not zero or len(pad.inputs) > 3 or len(sides) < 6 or np.any(sides < 0):
        return None
    rank = len(sides) // 2
    outside = [*sides[:2], *sides[rank : rank + 2]]
    return None if any(outside) else tuple(int(s) for s in (*sides[2:rank], *sides[rank + 2 :]))


def _pads_itself(node: ir.Node, values: list[ir.Value]) -> bool:
    auto = node.attributes["auto_pad"].as_string() if "auto_pad" in node.attributes else "NOTSET"
    return node.op_type == "Conv" and auto == "NOTSET" and node.inputs[0] in values


def _skip_(pad: ir.Node) -> None:
    """Whoever reads the padded value reads the bare one; a q/dq that only repeats its maker's goes."""
    bare, before = pad.inputs[0], made_by(pad.inputs[0], "DequantizeLinear")
    for reader in readers(pad.outputs[0]):
        if before is not None and reader.op_type == "QuantizeLinear" and same_grid(before, reader):
            for dequantize in readers(reader.outputs[0]):
                dequantize.replace_input_with(0, before.inputs[0])
        else:
            reader.replace_input_with(0, bare)
