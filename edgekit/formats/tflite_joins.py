"""Values of several grids put together, kept in float: litert-torch's converter would give them all one grid.

It moves a dequantize behind a concatenation, a where or a maximum, and quantizes the other values with that scale: what
a float layer made, or a state that comes from outside, is clipped, and nothing is said.
"""

from operator import getitem

import torch
from torch.fx import GraphModule, Node

from edgekit.compress.quantizer import MOVES, SPLITS
from edgekit.compress.relax import DEQUANTIZES

aten = torch.ops.aten
_LISTS = frozenset((aten.cat.default, aten.stack.default))
_PAIRS = frozenset((aten.where.self, aten.maximum.default, aten.minimum.default))
_THROUGH = MOVES | SPLITS | {getitem, aten.expand.default}
Grid = tuple[object, object] | None


def keep_joins_(module: GraphModule) -> GraphModule:
    """`module`, changed in place: no dequantize can be moved behind an op that joins values of unlike grids.

    Twice a value, halved, is the value, to the bit, and no dequantize passes an addition.
    """
    for node in list(module.graph.nodes):
        joined = _joined(node)
        grids = {value: _grid(value) for value in joined}
        if len(set(grids.values())) < 2:
            continue
        for value in (value for value, grid in grids.items() if grid is not None):
            with module.graph.inserting_before(node):
                twice = module.graph.call_function(aten.add.Tensor, (value, value))
                same = module.graph.call_function(aten.mul.Tensor, (twice, 0.5))
            node.replace_input_with(value, same)
    module.recompile()
    return module


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
