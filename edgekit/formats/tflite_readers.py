"""A value that is quantized for one reader and float to another, kept so: a converter would quantize it for all.

litert-torch moves a quantize in front of the ops that only move values, a slice or a concatenation, and then whoever
else reads what they make gets it dequantized: a recurrent state that is given back loses the digits that the next step
needs. It does the same to an output of the model that a layer takes quantized, and drops a quantize of another grid in
between.
"""

from collections.abc import Iterator
from operator import getitem

import torch
from torch.fx import GraphModule, Node

from edgekit.compress.quantizer import SPLITS
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES
from edgekit.formats.tflite_joins import THROUGH, hold_

aten = torch.ops.aten
_JOINS = frozenset((
    aten.cat.default, aten.stack.default, aten.where.self, aten.maximum.default, aten.minimum.default,
    aten.masked_fill.Scalar,
))  # fmt: skip
_PASSED = (THROUGH | _JOINS) - {getitem} - SPLITS
"""Ops that a quantize is moved in front of."""


def keep_readers_(module: GraphModule) -> GraphModule:
    """`module`, changed in place: a quantize is moved no further than to where its value is float to nobody else."""
    for node in list(module.graph.nodes):
        if node.target in QUANTIZES:
            for value, reader in list(_parted(node, node.args[0], node)):
                hold_(module.graph, reader, value)
    module.recompile()
    return module


def _parted(quantize: Node, value: object, reader: Node) -> Iterator[tuple[Node, Node]]:
    """(value, reader) between which `quantize` must not pass on its way up, `reader` being on it."""
    if not isinstance(value, Node) or value.op in ("get_attr", "placeholder"):
        return
    parts = _parts(value)
    others = [user for part in parts or (value,) for user in part.users if user not in (reader, *parts)]
    others = [user for user in others if not _same(user, quantize)]
    moved = bool(parts) or value.target in _PASSED
    if value.target in DEQUANTIZES:
        if reader is not quantize and not _same(value, quantize):
            yield value, reader
    elif (moved and others) or any(user.op == "output" or user.target in _PASSED for user in others):
        yield value, reader
    elif moved:
        for taken in value.args[0].all_input_nodes if parts else value.all_input_nodes:
            yield from _parted(quantize, taken, value)


def _parts(value: Node) -> tuple[Node, ...]:
    """All parts of what is split, where `value` is one of them."""
    whole = value.args[0] if value.target is getitem else None
    return tuple(whole.users) if isinstance(whole, Node) and whole.target in SPLITS else ()


def _same(node: Node, quantize: Node) -> bool:
    """Whether a quantize or dequantize has the grid of `quantize`."""
    return node.target in (*QUANTIZES, *DEQUANTIZES) and node.args[1:3] == quantize.args[1:3]
