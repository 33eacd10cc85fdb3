"""The ops of a QDQ file as a DPU sees them, and whether all of them run there in one go."""

import math
from collections.abc import Set
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from edgekit.core.dpu import DpuArch
from edgekit.formats.dpu.rules import ACTIVATIONS, DpuOp, Kind, violations
from edgekit.formats.violation import Violation
from edgekit.graph.values import constant, made_by, readers, scale_and_zero
from edgekit.graph.written import written_at

_KINDS: dict[str, Kind] = {
    "Conv": "conv", "ConvTranspose": "transposed", "Gemm": "linear", "Add": "add", "Mul": "mul",
    "MaxPool": "pool", "AveragePool": "pool", "GlobalAveragePool": "pool",
    **dict.fromkeys(("Concat", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), "move"),
}  # fmt: skip
_LINKS = ("QuantizeLinear", "DequantizeLinear")
_LAYERS = ("conv", "depthwise", "transposed", "linear")
_WITH_WEIGHT = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def broken_rules(model: ir.Model, arch: DpuArch, left: Set[str]) -> tuple[Violation, ...]:
    """Why the file is not one program of a DPU; none if it is. `left` are the layers that a recipe left in float.

    An op that no DPU op comes before, or none behind, is the processor's, unless it is an int8 layer: it cuts nothing
    in two. Where a recipe left layers in float the processor has part of the file anyway, and only int8 layers are
    looked at.
    """
    graph = ShapeInferencePass()(model.clone()).model.graph
    ops = {node: _op(node) for node in graph if node.op_type not in _LINKS and not _is_merged(node)}
    if any(_is_float_layer(node) and _name(node) in left for node in ops):
        seen = [op for node, op in ops.items() if _is_layer(node) and not _is_float_layer(node)]
        return tuple(v for op in seen for v in violations(op, arch))
    found = {node: broken for node, op in ops.items() if (broken := _in_float(node) or violations(op, arch))}
    runs = {node for node in ops if node not in found}
    behind, before = _reach(graph, runs, forward=True), _reach(graph, runs, forward=False)
    layers = set(filter(_is_layer, found))
    return tuple(v for node in found if node in layers or (node in behind and node in before) for v in found[node])


def _in_float(node: ir.Node) -> tuple[Violation, ...]:
    """What is wrong with a layer of a kind that stays float in every program."""
    if not _is_float_layer(node):
        return ()
    rewrite = "write it as an upsampling and a convolution"
    said = {"rule": "float layer", "value": node.op_type, "limit": "int8 alone", "rewrite": rewrite}
    return (Violation(layer=_name(node), accelerator="a DPU", **said),)


def _reach(graph: ir.Graph, runs: set[ir.Node], *, forward: bool) -> set[ir.Node]:
    """The nodes behind (or before) those in `runs`."""
    reached: set[ir.Node] = set()
    for node in list(graph) if forward else reversed(list(graph)):
        near = (
            [value.producer() for value in node.inputs if value is not None]
            if forward
            else [reader for value in node.outputs for reader in readers(value)]
        )
        if any(other is not None and (other in runs or other in reached) for other in near):
            reached.add(node)
    return reached


def _op(node: ir.Node) -> DpuOp:
    kind = _kind(node)
    last, activation = _activation(node)
    attributes: dict[str, Any] = {
        "kernel": _kernel(node), "stride": _pair(node, "strides", (1, 1)), "dilation": _pair(node, "dilations", (1, 1)),
        "pads": _pads(node),
    }  # fmt: skip
    if kind in _LAYERS:
        attributes |= _channels(node, kind)
    shifts: dict[str, Any] = _shifts(node, kind, last)
    name = _name(node) if _is_layer(node) else written_at(node).removesuffix(": ") or node.op_type
    return DpuOp(name=name, op=_word(node), kind=kind, activation=activation, **attributes, **shifts)


def _kind(node: ir.Node) -> Kind:
    kind = _KINDS.get(node.op_type, "other")
    dims = [len(value.shape) for value in (*node.inputs[:1], *node.outputs) if value and value.shape is not None]
    if kind in ("conv", "transposed", "pool") and any(rank != 4 for rank in dims):
        return "other"
    if kind in ("add", "mul") and any(constant(value) is not None for value in node.inputs):
        return "other"
    weight = _weight(node)
    if kind == "conv" and weight is not None and _groups(node) == weight[0] > 1 and weight[1] == 1:
        return "depthwise"
    return kind


def _weight(node: ir.Node) -> tuple[int, ...] | None:
    """The shape of a layer's weight, whether it is int8 or float; None if it has none."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    dequantize = made_by(value, "DequantizeLinear")
    array = constant(value if dequantize is None else dequantize.inputs[0])
    return None if array is None else array.shape


def _is_layer(node: ir.Node) -> bool:
    """Whether an op has a weight, be it int8 or float."""
    return node.op_type in _WITH_WEIGHT and _weight(node) is not None


def _is_float_layer(node: ir.Node) -> bool:
    return node.op_type in _WITH_WEIGHT and constant(node.inputs[1]) is not None


def _word(node: ir.Node) -> str:
    """What an op is called in a message: a DPU has no convolution but those of two dimensions."""
    weight = _weight(node) if node.op_type in ("Conv", "ConvTranspose") else None
    return node.op_type if weight is None or len(weight) == 4 else f"{node.op_type} of {len(weight) - 2} dimension(s)"


def _is_merged(node: ir.Node) -> bool:
    """Whether an activation is computed together with the op in front of it."""
    before = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return _activation_name(node) is not None and before is not None and _activation(before)[0] is node


def _activation(node: ir.Node) -> tuple[ir.Node, str | None]:
    """The node that ends an op, and the activation that it is; the op itself where none is behind it alone."""
    users = readers(node.outputs[0]) if node.outputs else ()
    name = _activation_name(users[0]) if len(users) == 1 and _kind_has_activation(node) else None
    return (users[0], name) if name is not None else (node, None)


def _kind_has_activation(node: ir.Node) -> bool:
    return _KINDS.get(node.op_type) in ACTIVATIONS


def _activation_name(node: ir.Node) -> str | None:
    if node.op_type == "Clip":
        ends = [None if value is None else constant(value) for value in (*node.inputs[1:], None, None)[:2]]
        low, high = (None if end is None else float(end) for end in ends)
        return {(0.0, 6.0): "Relu6", (0.0, None): "Relu"}.get((low, high), "Clip")  # type: ignore[arg-type]
    return node.op_type if node.op_type in ("Relu", "LeakyRelu", "HardSwish", "HardSigmoid", "PRelu", "Elu") else None


def _channels(node: ir.Node, kind: Kind) -> dict[str, Any]:
    weight, groups = _weight(node), _groups(node)
    if weight is None:
        return {}
    if kind == "linear":
        turned = bool(node.attributes["transB"].as_int()) if "transB" in node.attributes else False
        gives, takes = weight if turned else weight[::-1]
        channels, rows, columns = _image_before(node) or (takes, 1, 1)
        return {"takes": channels, "gives": gives, "kernel": (rows, columns)}
    first, second = weight[0], weight[1] * groups
    takes, gives = (first, second) if kind == "transposed" else (second, first)
    return {"takes": takes, "gives": gives, "groups": 1 if kind == "depthwise" else groups, "kernel": weight[2:4]}


def _image_before(node: ir.Node) -> tuple[int, int, int] | None:
    """(channels, rows, columns) of the image that a linear layer takes flattened: a DPU folds it as a kernel."""
    value = node.inputs[0]
    while (mover := made_by(value, *_LINKS, "Reshape", "Flatten")) is not None:
        value = mover.inputs[0]
        shape = None if value is None or value.shape is None else list(value.shape)
        if mover.op_type not in _LINKS and shape is not None and len(shape) == 4:
            sizes = [s for s in shape[1:] if isinstance(s, int)]
            return (sizes[0], sizes[1], sizes[2]) if len(sizes) == 3 else None
    return None


def _shifts(node: ir.Node, kind: Kind, last: ir.Node) -> dict[str, int]:
    """The shifts between the scales around an op, those that are known."""
    takes = [_power(made_by(value, "DequantizeLinear")) for value in node.inputs]
    quantizes = [reader for reader in readers(last.outputs[0]) if reader.op_type == "QuantizeLinear"]
    out = _power(quantizes[0]) if quantizes else None
    if len(takes) < 2 or takes[0] is None or takes[1] is None:
        return {}
    found: dict[str, int] = {}
    if kind in _LAYERS:
        sums = takes[0] + takes[1]
        if len(takes) > 2 and takes[2] is not None:
            found["bias"] = takes[2] - sums
        return found if out is None else found | {"cut": out - sums}
    if kind == "add":
        found["read"] = abs(takes[0] - takes[1])
        return found if out is None else found | {"write": out - max(takes[0], takes[1])}
    if kind == "mul" and out is not None:
        found["write"] = out - takes[0] - takes[1]
    return found


def _power(node: ir.Node | None) -> int | None:
    scale = constant(scale_and_zero(node)[0]) if node is not None else None
    if scale is None or scale.size != 1:
        return None
    return round(math.log2(float(scale.reshape(()))))


def _groups(node: ir.Node) -> int:
    return node.attributes["group"].as_int() if "group" in node.attributes else 1


def _kernel(node: ir.Node) -> tuple[int, int]:
    if node.op_type == "GlobalAveragePool":
        shape = None if node.inputs[0] is None or node.inputs[0].shape is None else node.inputs[0].shape
        sizes = [s for s in list(shape)[2:] if isinstance(s, int)] if shape is not None else []
        return (sizes[0], sizes[1]) if len(sizes) == 2 else (1, 1)
    return _pair(node, "kernel_shape", (1, 1))


def _pair(node: ir.Node, name: str, default: tuple[int, int]) -> tuple[int, int]:
    values = tuple(node.attributes[name].as_ints()) if name in node.attributes else default
    return (int(values[0]), int(values[1])) if len(values) == 2 else default


def _pads(node: ir.Node) -> tuple[int, int, int, int]:
    values = tuple(node.attributes["pads"].as_ints()) if "pads" in node.attributes else ()
    return (values[0], values[1], values[2], values[3]) if len(values) == 4 else (0, 0, 0, 0)


def _name(node: ir.Node) -> str:
    """The module that a layer's weight is of, else the node's own name."""
    value = node.inputs[1] if len(node.inputs) > 1 else None
    dequantize = made_by(value, "DequantizeLinear")
    source = value if dequantize is None else dequantize.inputs[0]
    if source is not None and constant(source) is not None and source.name:
        return source.name.removesuffix("_int8").removesuffix(".weight")
    return node.name or node.op_type
