"""A captured graph made ready to be quantized: no op changes its input in place, none is there for training only."""

import torch
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten
_DROPOUTS = (aten.dropout, aten.alpha_dropout, aten.feature_dropout, aten.feature_alpha_dropout)
_VIEWS = frozenset((
    aten.view, aten.reshape, aten.flatten, aten.slice, aten.select, aten.transpose, aten.permute, aten.squeeze,
    aten.unsqueeze, aten.chunk, aten.split, aten.split_with_sizes, aten.expand,
))  # fmt: skip


def settle_(module: GraphModule) -> GraphModule:
    """`module`, changed in place: `relu_` becomes `relu`, `add_` becomes `add` and so on, and dropouts go.

    A quantize between an in-place op and a later reader of the same tensor would hide the change from that reader.
    An op on a view is left as it is, and so is not quantized.
    """
    for node in list(module.graph.nodes):
        packet = getattr(node.target, "overloadpacket", None)
        if packet in _DROPOUTS:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        elif (functional := _functional(node)) is not None:
            _read_result_later_(module.graph, node)
            node.target = functional
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _functional(node: Node) -> object | None:
    """The op that computes the same into a new tensor; None if `node` changes nothing, or changes a view."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable or not schema.name.endswith("_"):
        return None
    changed = node.args[0]
    if not isinstance(changed, Node) or getattr(changed.target, "overloadpacket", None) in _VIEWS:
        return None
    packet = getattr(aten, schema.name.removeprefix("aten::").removesuffix("_"), None)
    return getattr(packet, node.target._overloadname, None)


def _read_result_later_(graph: Graph, node: Node) -> None:
    """Every reader behind `node` of the tensor that it changed reads its result instead."""
    changed, before = node.args[0], True
    for other in graph.nodes:
        if not before and changed in other.all_input_nodes:
            other.replace_input_with(changed, node)
        before = before and other is not node
