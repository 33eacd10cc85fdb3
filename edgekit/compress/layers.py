"""The layers of a model that a recipe names: their kind, the channel groups they read and write, what follows them."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch.fx import Node

from edgekit.compress.groups import Analysis, analyse
from edgekit.compress.quantizer import is_layer, layer_name
from edgekit.models.model import Model, export_program

aten = torch.ops.aten
Kind = Literal["conv", "depthwise", "linear"]


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer, by its module's name.

    `reads` and `writes` are the groups of its input and output channels: None where those cannot be cut, and the one
    with most channels where it takes several (a concatenation). `macs` is for one sample, over all calls.
    """

    name: str
    kind: Kind
    reads: str | None
    writes: str | None
    macs: int


def layers(model: Model) -> tuple[Layer, ...]:
    """The layers of `model`, in order of execution."""
    analysis = analyse(model)
    groups, macs = _groups_by_weight(analysis), layer_macs(model)
    found: dict[str, Layer] = {}
    for node in _graph(model):
        if is_layer(node):
            name, kind = layer_name(node), _kind(node)
            weight = str(node.args[1].target)  # type: ignore[union-attr]
            writes = groups.get((weight, 0))
            reads = writes if kind == "depthwise" else groups.get((weight, 1))
            found[name] = Layer(name, kind, reads, writes, macs[name])
    return tuple(found.values())


def layer_macs(model: Model) -> dict[str, int]:
    """Multiply-adds of each layer for one sample, over all its calls, in order of execution."""
    found: dict[str, int] = {}
    for node in _graph(model):
        if is_layer(node):
            found[layer_name(node)] = found.get(layer_name(node), 0) + _macs(node, len(model.example[0]))
    return found


def edges(model: Model) -> tuple[tuple[str, str], ...]:
    """(layer, layer) wherever the second takes what the first makes, with no layer in between; each pair once."""
    sources: dict[Node, frozenset[str]] = {}
    pairs: dict[tuple[str, str], None] = {}
    for node in _graph(model):
        taken = frozenset[str]().union(*(sources.get(n, frozenset()) for n in node.all_input_nodes))
        if is_layer(node):
            name = layer_name(node)
            pairs.update(dict.fromkeys((source, name) for source in sorted(taken)))
            taken = frozenset((name,))
        sources[node] = taken
    return tuple(pairs)


def _graph(model: Model) -> list[Node]:
    return list(export_program(model.module, model.example, model.spec.name).module().graph.nodes)


def _kind(node: Node) -> Kind:
    if node.target is aten.linear.default:
        return "linear"
    weight = node.args[1].meta["val"]  # type: ignore[union-attr]
    return "depthwise" if len(node.args) > 6 and node.args[6] != 1 and weight.shape[1] == 1 else "conv"


def _macs(node: Node, batch: int) -> int:
    weight = node.args[1].meta["val"]  # type: ignore[union-attr]
    return prod(node.meta["val"].shape) * prod(weight.shape[1:]) // max(batch, 1)


def _groups_by_weight(analysis: Analysis) -> dict[tuple[str, int], str]:
    """The group with most channels along each dimension of each weight."""
    name_of = {int(unit): group.name for group in analysis.groups for unit in analysis.units[group.name]}
    found = {}
    for key, slot in analysis.trace.slots.items():
        names = Counter(name_of.get(root) for root in analysis.trace.channels.roots(slot.channels).tolist())
        del names[None]
        if names:
            found[key] = names.most_common(1)[0][0]
    return found  # type: ignore[return-value]
