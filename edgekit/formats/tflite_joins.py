"""Values that stay float in a TFLite file: litert-torch's converter would put them on the grid of what is beside them.

It moves a dequantize behind a concatenation, a where or a maximum, and quantizes the other values with that scale: what
a float layer made, or a state that comes from outside, is clipped, and nothing is said. It moves a quantize in front of
what only picks or joins values, and whoever else takes these gets them from the grid: so a GRU's state, of which a
layer takes the last step. It makes an int8 HARD_SWISH of a float one, whose kernel is a step off in a hundredth of the
values and takes longer than dequantizing, XNNPACK's float one and quantizing together. And where a value goes from
int16 to int8 it lets the op that makes it give int8, which no kernel can.

What holds a value so is taken out of the file again: no runtime moves a dequantize.
"""

from collections.abc import Mapping
from operator import getitem
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from edgekit.compress.quantizer import MOVES, SPLITS
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES
from edgekit.formats.tflite_file import constant_of, drop_unread_, dtype_of, kind_of, read_file, write_file

aten = torch.ops.aten
_LISTS = frozenset((aten.cat.default, aten.stack.default))
_PAIRS = frozenset((aten.where.self, aten.maximum.default, aten.minimum.default))
_INEXACT = (aten.hardswish.default, aten.hardswish_.default)
THROUGH = MOVES | SPLITS | {getitem, aten.expand.default}
Grid = tuple[object, object] | None
HALF = 0.5


def keep_floats_(module: GraphModule) -> GraphModule:
    """`module`, changed in place: what it computes in float, the converter leaves in float.

    Twice a value, halved, is the value, to the bit, and neither a quantize nor a dequantize passes an addition.
    """
    for node in list(module.graph.nodes):
        for value in (*_on_other_grids(node), *_before_quantize(node)):
            hold_(module.graph, node, value)
    module.recompile()
    return module


def _on_other_grids(node: Node) -> tuple[Node, ...]:
    """The int8 values that an op joins with values of other grids, or of none."""
    grids = {value: _grid(value) for value in _joined(node)}
    return tuple(v for v, grid in grids.items() if grid is not None) if len(set(grids.values())) > 1 else ()


def _before_quantize(node: Node) -> tuple[Node, ...]:
    """What a quantize takes, if it would be moved in front of what makes it."""
    if node.target not in QUANTIZES:
        return ()
    value: Any = node.args[0]
    if value.target in DEQUANTIZES and value.args[-1] is not node.args[-1]:
        return (value,)  # integers of another width
    return (value,) if value.target in _INEXACT or (value.target in THROUGH and _is_shared_float(value)) else ()


def _is_shared_float(value: Node) -> bool:
    """Whether a value is picked out of a float one, on the way from whose maker another op takes it too."""
    shared = False
    while value.target in THROUGH and isinstance(value.args[0], Node):
        value = value.args[0]
        shared = shared or len(value.users) > 1
    return shared and value.op == "call_function" and value.target not in DEQUANTIZES


def hold_(graph: Graph, taker: Node, value: Node) -> None:
    """Puts between `value` and `taker` what no quantize nor dequantize is moved past, and what changes no bit."""
    with graph.inserting_before(taker):
        twice = graph.call_function(aten.add.Tensor, (value, value))
        same = graph.call_function(aten.mul.Tensor, (twice, HALF))
    taker.replace_input_with(value, same)


def without_holds(content: bytes) -> bytes:
    """The file without what doubles a value and halves it; the same where there is none."""
    model = read_file(content)
    graph = model.subgraphs[0]
    doubles = {int(op.outputs[0]): int(op.inputs[0]) for op in graph.operators if _doubles(op, model, graph)}
    held = {
        int(op.outputs[0]): doubles[int(op.inputs[0])] for op in graph.operators if _halves(op, model, graph, doubles)
    }
    held = {place: value for place, value in held.items() if place not in {int(i) for i in graph.outputs}}
    if not held:
        return content
    for op in graph.operators:
        op.inputs = [held.get(int(i), int(i)) for i in op.inputs]
    drop_unread_(model)
    return write_file(model, len(content))


def _doubles(op: Any, model: Any, graph: Any) -> bool:
    if kind_of(op, model) != "ADD" or op.inputs[0] != op.inputs[1] or op.builtinOptions.fusedActivationFunction:
        return False
    return dtype_of(graph.tensors[op.inputs[0]]) == "FLOAT32"


def _halves(op: Any, model: Any, graph: Any, doubles: Mapping[int, int]) -> bool:
    if kind_of(op, model) != "MUL" or int(op.inputs[0]) not in doubles or op.builtinOptions.fusedActivationFunction:
        return False
    factor = constant_of(graph.tensors[op.inputs[1]], model)
    return factor is not None and factor.size == 1 and float(factor.reshape(())) == HALF


def _joined(node: Node) -> tuple[Node, ...]:
    """The values of which a joining op makes one."""
    if node.target in _LISTS:
        return tuple(v for v in node.args[0] if isinstance(v, Node))  # type: ignore[union-attr]
    sides = node.args[1:3] if node.target is aten.where.self else node.args[:2]
    return tuple(v for v in sides if isinstance(v, Node)) if node.target in _PAIRS else ()


def _grid(value: Node) -> Grid:
    """Scale and zero point of the dequantize that `value` is moved out of; None where it is float."""
    while value.target in THROUGH and isinstance(value.args[0], Node):
        value = value.args[0]
    return (value.args[1], value.args[2]) if value.target in DEQUANTIZES else None
