"""Layers in half: casts around them, and no casts where what lies between two of them is as good in half.

A ReLU, a reshape or an add of values in half is in half too. Softmax, LayerNorm and whatever else sums or divides keeps
float32.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from edgekit.compress.dynamic import is_layer_of
from edgekit.compress.quantizer import ACTIVATIONS, JOINS, MOVES, aten
from edgekit.core.recipe import Precision

CASTS = aten._to_copy.default
HALVES: Mapping[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}
FOLLOW = ACTIVATIONS | MOVES | JOINS | {aten.add.Tensor, aten.mul.Tensor}
"""Ops that are in half where all that they take is."""


def halve_(module: GraphModule, precisions: Mapping[str, Precision]) -> GraphModule:
    """`module`, changed in place: its fp16 and bf16 layers take, hold and give halves."""
    halves = _Halves(module.graph)
    for node in list(module.graph.nodes):
        wanted = next((dtype for word, dtype in HALVES.items() if is_layer_of(node, precisions, word)), None)
        follows = halves.dtype_of(node.all_input_nodes) if node.target in FOLLOW else None
        if (dtype := wanted or follows) is not None:
            halves.halve_(node, dtype)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


class _Halves:
    """Which values of a graph are the float32 of a half, and the casts that were made."""

    def __init__(self, graph: Graph) -> None:
        self._graph: Any = graph
        self._wide: dict[Node, torch.dtype] = {}
        self._cast: dict[tuple[Node, torch.dtype], Node] = {}

    def dtype_of(self, values: Iterable[Node]) -> torch.dtype | None:
        """The type of half that all `values` were; None if one was not."""
        found = {self._wide.get(value) for value in values}
        return found.pop() if len(found) == 1 else None

    def halve_(self, node: Node, dtype: torch.dtype) -> None:
        """`node` computes in half; who reads it reads the float32 of that."""
        for value in node.all_input_nodes:
            node.replace_input_with(value, self._half(node, value, dtype))
        with self._graph.inserting_after(node):
            wide = self._graph.call_function(CASTS, (node,), {"dtype": torch.float32})
        node.replace_all_uses_with(wide, delete_user_cb=lambda user: user is not wide)
        self._wide[wide] = dtype

    def _half(self, node: Node, value: Node, dtype: torch.dtype) -> Any:
        if self._wide.get(value) is dtype:
            return value.args[0]
        if (value, dtype) not in self._cast:
            with self._graph.inserting_before(node):
                self._cast[value, dtype] = self._graph.call_function(CASTS, (value,), {"dtype": dtype})
        return self._cast[value, dtype]
