"""Values that stay float in a TFLite file: litert-torch's converter would put them on the grid of what is beside them.

It moves a dequantize behind a concatenation, a where or a maximum, and quantizes the other values with that scale: what
a float layer made, or a state that comes from outside, is clipped, and nothing is said. It moves a quantize in front of
what only picks or joins values, and whoever else takes these gets them from the grid: so a GRU's state, of which a
layer takes the last step. It makes an int8 HARD_SWISH of a float one, whose kernel is a step off in a hundredth of the
values and takes longer than dequantizing, XNNPACK's float one and quantizing together.
"""

from operator import getitem
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.compress.quantizer import MOVES, SPLITS
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES

aten = torch.ops.aten
_LISTS = frozenset((aten.cat.default, aten.stack.default))
_PAIRS = frozenset((aten.where.self, aten.maximum.default, aten.minimum.default))
_INEXACT = (aten.hardswish.default, aten.hardswish_.default)
_THROUGH = MOVES | SPLITS | {getitem, aten.expand.default}
Grid = tuple[object, object] | None


def keep_floats_(module: GraphModule) -> GraphModule:
    """`module`, changed in place: what it computes in float, the converter leaves in float.

    Twice a value, halved, is the value, to the bit, and neither a quantize nor a dequantize passes an addition.
    """
    for node in list(module.graph.nodes):
        for value in (*_on_other_grids(node), *_before_quantize(node)):
            _hold_(module, node, value)
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
    return (value,) if value.target in _INEXACT or (value.target in _THROUGH and _is_shared_float(value)) else ()


def _is_shared_float(value: Node) -> bool:
    """Whether a value is picked out of a float one, on the way from whose maker another op takes it too."""
    shared = False
    while value.target in _THROUGH and isinstance(value.args[0], Node):
        value = value.args[0]
        shared = shared or len(value.users) > 1
    return shared and value.op == "call_function" and value.target not in DEQUANTIZES


def _hold_(module: GraphModule, taker: Node, value: Node) -> None:
    with module.graph.inserting_before(taker):
        twice = module.graph.call_function(aten.add.Tensor, (value, value))
        same = module.graph.call_function(aten.mul.Tensor, (twice, 0.5))
    taker.replace_input_with(value, same)


def _joined(node: Node) -> tuple[Node, ...]:
    """The values of which a joining op makes one."""
    if node.target in _LISTS:
        return tuple(v for v in node.args[0] if isinstance(v, Node))  # type: ignore[union-attr]
    sides = node.args[1:3] if node.target is aten.where.self else node.args[:2]
    return tuple(v for v in sides if isinstance(v, Node)) if node.target in _PAIRS else ()


def _grid(value: Node) -> Grid:
    """Scale and zero point of the dequantize that `value` is moved out of; None where it is float."""
    while value.target in _THROUGH and isinstance(value.args[0], Node):
        value = value.args[0]
    return (value.args[1], value.args[2]) if value.target in DEQUANTIZES else None
