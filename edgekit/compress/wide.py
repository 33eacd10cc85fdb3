"""Static layers whose activations are int16: their q/dq relabelled, and a requantize next to int8 layers.

The all-int8 program has a range for every value. In int16 that range has 32768 steps to either side of zero, so that
values which share a scale in int8 share one in int16 too.
"""

from collections.abc import Sequence, Set
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, units_of
from edgekit.compress.units import Unit, int8_values

MOST, MOST_INT8 = 2**15, 2**7


def widen_(module: GraphModule, int16: Set[str], static: Set[str]) -> GraphModule:
    """`module`, changed in place: what its `int16` layers take and give is int16; the other `static` ones keep int8.

    An op between layers is int16 if any value that it takes is.
    """
    units, unit_of = units_of(module.graph)
    computed = _computed(units, int16, static)
    taken = _taken(units, int16)
    for node in list(module.graph.nodes):
        if node.target is not QUANTIZES[0]:
            continue
        value = node.args[0].name
        wide = computed[value] == "int16" if value in computed else value in taken
        takers = {use: computed.get(unit_of.get(next(iter(use.users)), "")) for use in list(node.users)}
        grids = {"int8": node.args[1:], "int16": _wide_grid(node.args[1:])}
        made = "int16" if wide else "int8"
        for dequantize, taker in takers.items():
            if taker not in (None, made):
                _requantize_behind_(module, dequantize, grids[taker])
            dequantize.args = (dequantize.args[0], *grids[made])
        node.args = (node.args[0], *grids[made])
    module.recompile()
    return module


def _computed(units: Sequence[Unit], int16: Set[str], static: Set[str]) -> dict[str, str]:
    """The precision of each value that a static unit makes."""
    values, found = int8_values(units, static), dict[str, str]()
    for unit in units:
        if unit.makes not in values:
            continue
        wide = unit.layer in int16 if unit.layer else any(found.get(value) == "int16" for value in unit.takes)
        found[unit.makes] = "int16" if wide else "int8"
    return found


def _taken(units: Sequence[Unit], int16: Set[str]) -> set[str]:
    return {value for unit in units if unit.layer in int16 for value in unit.takes}


def _wide_grid(narrow: tuple[Any, ...]) -> tuple[Any, ...]:
    """Scale, zero point, least, most and type of int16, for those of int8.

    >>> _wide_grid((1 / 256, -128, -128, 127, torch.int8))[:2] == (1 / 32768, 0)
    True
    """
    scale, zero = narrow[:2]
    return (float(np.float32(scale * max(MOST_INT8 + zero, MOST_INT8 - zero) / MOST)), 0, -MOST, MOST - 1, torch.int16)


def _requantize_behind_(module: GraphModule, dequantize: Node, grid: tuple[Any, ...]) -> None:
    with module.graph.inserting_after(dequantize):
        steps = module.graph.call_function(QUANTIZES[0], (dequantize, *grid))
    with module.graph.inserting_after(steps):
        again = module.graph.call_function(DEQUANTIZES[0], (steps, *grid))
    dequantize.replace_all_uses_with(again, delete_user_cb=lambda user: user is not steps)
