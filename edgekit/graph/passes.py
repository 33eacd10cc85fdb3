"""Passes over a lowered ONNX file, on onnx-ir. Each changes the model in place and keeps what it computes."""

import numpy as np
import onnx_ir as ir

from edgekit.errors import ConvertError, TargetError


def fold_weights_(model: ir.Model) -> ir.Model:
    """Stores quantized weights as int8: QuantizeLinear (and the Clip behind it) of a constant is computed now."""
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear":
            continue
        chain = _constant_quantize(node)
        if chain is None:
            continue
        weight, scale, axis, low, high = chain
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)] if scale.ndim else []
        steps = np.rint(weight / scale.reshape(shape))
        name = f"{_producer(node).inputs[0].name}_int8" if _source_name(node) is None else f"{_source_name(node)}_int8"
        if name not in model.graph.initializers:
            tensor = ir.tensor(np.clip(steps, low, high).astype(np.int8), name=name)
            model.graph.register_initializer(ir.Value(name=name, shape=tensor.shape, type=_int8(), const_value=tensor))
        node.replace_input_with(0, model.graph.initializers[name])
    return drop_unused_(model)


def relabel_uint8_(model: ir.Model) -> ir.Model:
    """Activations as uint8: 128 is added to every zero point. The values computed are the same, to the bit.

    onnxruntime's fast int8 kernels on x86 take uint8 activations; with int8 ones, a quantized value that more than one
    op reads keeps its ops in float.
    """
    made: dict[str, ir.Value] = {}
    for node in list(model.graph):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or _is_weight(node):
            continue
        zero = node.inputs[2]
        value = None if zero is None else zero.const_value
        if zero is None or zero.name is None or value is None or value.dtype != ir.DataType.INT8:
            continue
        if zero.name not in made:
            shifted = (value.numpy().astype(np.int32) + 128).astype(np.uint8)
            tensor = ir.tensor(shifted, name=f"{zero.name}_u8")
            kind = ir.TensorType(ir.DataType.UINT8)
            made[zero.name] = ir.Value(name=tensor.name, shape=tensor.shape, type=kind, const_value=tensor)
            model.graph.register_initializer(made[zero.name])
        node.replace_input_with(2, made[zero.name])
        if node.op_type == "QuantizeLinear":
            node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
    return drop_unused_(model)


def clip_behind_quantize_(model: ir.Model) -> ir.Model:
    """Moves a ReLU in front of a symmetric quantize behind it, as a Clip of integers at the zero point.

    With symmetric activations a ReLU is not absorbed by the quantize, and onnxruntime would run its layer in float.
    """
    for node in list(model.graph):
        if node.op_type != "QuantizeLinear" or _is_weight(node):
            continue
        relu, zero = _producer(node), node.inputs[2]
        if relu is None or relu.op_type != "Relu" or len(relu.outputs[0].uses()) != 1 or zero is None:
            continue
        if zero.const_value is None or (int(zero.const_value.numpy()) in (-128, 0) and _is_unsigned_floor(zero)):
            continue
        node.replace_input_with(0, relu.inputs[0])
        clip = ir.node("Clip", [node.outputs[0], zero], name=f"{relu.name}_clip")
        clip.outputs[0].name = f"{node.outputs[0].name}_clipped"
        clip.outputs[0].type, clip.outputs[0].shape = node.outputs[0].type, node.outputs[0].shape
        for use in list(node.outputs[0].uses()):
            if use.node is not clip:
                use.node.replace_input_with(use.idx, clip.outputs[0])
        model.graph.insert_after(node, clip)
        model.graph.remove(relu, safe=True)
    return model


def keep_ceiling_(model: ir.Model, *, opset: int | None, ir_version: int | None) -> ir.Model:
    """The file within what a runtime reads.

    Raises: TargetError naming the op whose version is above the ceiling.
    """
    have = model.opset_imports.get("", 0)
    if opset is not None and have > opset:
        raise TargetError(f"the file needs opset {have}, and the target reads {opset} at most")
    if ir_version is not None and model.ir_version > ir_version:
        model.ir_version = ir_version
    return model


def drop_unused_(model: ir.Model) -> ir.Model:
    """Removes nodes and initializers that nothing reads."""
    outputs = set(model.graph.outputs)
    for node in reversed(list(model.graph)):
        if not any(value.uses() or value in outputs for value in node.outputs):
            model.graph.remove(node, safe=True)
    for name, value in list(model.graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del model.graph.initializers[name]
    return model


def _int8() -> ir.TensorType:
    return ir.TensorType(ir.DataType.INT8)


def _producer(node: ir.Node) -> ir.Node:
    value = node.inputs[0]
    return None if value is None else value.producer()


def _is_weight(node: ir.Node) -> bool:
    """Whether a q/dq works on a constant."""
    value = node.inputs[0]
    while value is not None and value.producer() is not None:
        maker = value.producer()
        if maker is None or maker.op_type not in ("QuantizeLinear", "Clip"):
            return False
        value = maker.inputs[0]
    return value is not None and value.const_value is not None


def _is_unsigned_floor(zero: ir.Value) -> bool:
    """Whether the zero point is its type's least value, so that a quantize clips at zero by itself."""
    value = zero.const_value
    if value is None:
        return False
    floor = 0 if value.dtype == ir.DataType.UINT8 else -128
    return int(value.numpy()) == floor


def _source_name(dequantize: ir.Node) -> str | None:
    node: ir.Node | None = dequantize
    value = dequantize.inputs[0]
    while node is not None:
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return None if value is None else value.name


def _constant_quantize(dequantize: ir.Node) -> tuple[np.ndarray, np.ndarray, int, int, int] | None:
    """(weight, scale, axis, least, most) of a constant quantized in front of `dequantize`; None if there is none."""
    node = _producer(dequantize)
    low, high = -128, 127
    if node is not None and node.op_type == "Clip":
        bounds = [v.const_value for v in node.inputs[1:3] if v is not None]
        if len(bounds) != 2 or None in bounds:
            raise ConvertError(f"{node.name}: a Clip of a quantized weight without constant bounds")
        low, high = (int(b.numpy()) for b in bounds if b is not None)
        node = _producer(node)
    if node is None or node.op_type != "QuantizeLinear":
        return None
    weight, scale = (v.const_value if v is not None else None for v in node.inputs[:2])
    if weight is None or scale is None:
        return None
    axis = node.attributes.get("axis")
    return weight.numpy(), scale.numpy(), axis.as_int() if axis is not None else 1, low, high
