"""How the layers of a quantized program hang together: which layer's values another takes, and what each costs."""

from typing import Any

from torch.fx import Node

from edgekit.compress.relax import layer_units, parameter_of, quantized_layers
from edgekit.models.program import Program


def layer_edges(program: Program) -> tuple[tuple[str, str], ...]:
    """(layer that makes a value, layer that takes it), through adds, pools and what else is no layer; in order."""
    makers: dict[str, dict[str, None]] = {}
    edges: dict[tuple[str, str], None] = {}
    for unit in layer_units(program):
        taken = {layer: None for value in unit.takes for layer in makers.get(value, {})}
        if unit.layer is not None:
            edges |= dict.fromkeys((maker, unit.layer) for maker in taken if maker != unit.layer)
            taken = {unit.layer: None}
        makers[unit.makes] = taken
    return tuple(edges)


def layer_macs(program: Program) -> dict[str, int]:
    """Multiply-adds of one call of each layer, by its name."""
    found: dict[str, int] = {}
    for layer in quantized_layers(program.exported.graph, parameter_of(program.exported)):
        made, weight = _shape(layer.node), _shape(layer.node.args[1])
        size = 1
        for dimension in (*made, *weight[1:]):
            size *= dimension
        found[layer.name] = found.get(layer.name, 0) + size
    return found


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return () if value is None else tuple(int(d) for d in value.shape)
