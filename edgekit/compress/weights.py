"""Weights stored in fewer bits: an int8 scale for each output channel, or a 4-bit one for each group of input channels.

In the program a stored weight is a float parameter behind a quantize and a dequantize, as those of static int8 are. Its
values lie on the grid, so whichever way a format divides by the scale, it finds the same steps. What shares a 4-bit
scale is a row: the weight is reshaped to rows in front of its quantize, and back behind its dequantize.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.compress.quantizer import aten, is_layer, layer_name
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, parameter_of, set_parameter_
from edgekit.compress.rounding import Taken, nearest, rounded
from edgekit.core.recipe import Precision
from edgekit.core.target import Numerics
from edgekit.models.program import Program

STORED: tuple[Precision, ...] = ("int8-dynamic", "int8-weights", "int4-weights")
"""The precisions whose weights are stored so."""
LEAST_SCALE = 2.0**-20
SHRINKS = torch.linspace(1.0, 0.64, 13, dtype=torch.float64).tolist()
"""Shares of a 4-bit row's range that are tried as its range: with so few steps, clipping the largest may cost less."""


@dataclass(frozen=True)
class Grid:
    """The steps of a weight: a scale for each of its rows, equal parts of it in order; every step is low to high."""

    scales: Tensor
    low: int
    high: int


def weight_grid(weight: Tensor, precision: Precision, *, group: int, reduced: bool = False) -> Grid:
    """The grid of a weight (output channels first, then input channels), stored as `precision` wants it.

    `group` input channels share a 4-bit scale; where they do not divide the weight's, all of them do. `reduced`: 7 bits
    for int8-dynamic, as for static int8.
    """
    values = weight.detach().float()
    if precision != "int4-weights":
        most = 63 if reduced and precision == "int8-dynamic" else 127
        return Grid(_least(values.reshape(len(values), -1).abs().amax(dim=1) / most), -most, most)
    rows = values.reshape(len(values) * groups_of(values, group), -1)
    whole = rows.abs().amax(dim=1) / 7
    held = _least if len(rows) == len(values) else _of_few_bits
    tried = torch.stack([held(whole * share) for share in SHRINKS])
    errors = torch.stack([_squared_error(rows, scales.float()) for scales in tried])
    return Grid(tried[errors.argmin(dim=0), torch.arange(len(rows))], -8, 7)


def groups_of(weight: Tensor, group: int) -> int:
    """Into how many groups the input channels of a weight fall.

    >>> groups_of(torch.zeros(8, 64), 32), groups_of(torch.zeros(8, 48), 32)
    (2, 1)
    """
    inputs = weight.shape[1]
    return inputs // group if inputs % group == 0 else 1


def store_weights_(
    module: GraphModule, precisions: Mapping[str, Precision], taken: Mapping[str, Taken], numerics: Numerics, *,
    reduced: bool,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Stores the weights of the layers of `module` whose precision wants it; the parameters as they were, by name.

    A weight is put on its grid by what its layer has `taken`, or each value to its nearest step where that is unknown.
    """
    calls: dict[str, list[Node]] = defaultdict(list)
    for node in module.graph.nodes:
        if is_layer(node) and precisions.get(layer_name(node)) in STORED:
            calls[str(node.args[1].target)].append(node)
    before: dict[str, np.ndarray] = {}
    for name, nodes in calls.items():
        weight = attrgetter(name)(module).detach()
        group = numerics.int4_group if numerics.int4_grouped == "all" or _is_pointwise(weight) else weight.shape[1]
        grid = weight_grid(weight, precisions[layer_name(nodes[0])], group=group, reduced=reduced)
        seen = taken.get(layer_name(nodes[0]))
        before |= {name: weight.numpy().copy()} | _put_on_grid_(module, name, nodes[0], grid, seen)
        _insert_(module, name, nodes, grid)
    module.recompile()
    return before


def stored_weights(program: Program) -> dict[str, tuple[str, Precision]]:
    """By the name of the node that dequantizes a weight stored so, its layer and that layer's precision."""
    of, found = parameter_of(program.exported), dict[str, tuple[str, Precision]]()
    for node in program.exported.graph.nodes:
        value: Any = node.args[0] if node.target is DEQUANTIZES[1] else None
        while value is not None and of(value) is None:
            value = value.args[0] if value.op == "call_function" else None
        layer = str(of(value)).removesuffix(".weight") if value is not None else ""
        if (precision := program.precisions.get(layer)) in STORED:
            found[node.name] = (layer, precision)
    return found


def _put_on_grid_(module: GraphModule, name: str, node: Node, grid: Grid, taken: Taken | None) -> dict[str, np.ndarray]:
    """Gives the weight `name` values on its grid; the bias as it was, where what the weight loses goes into it."""
    weight, bias = attrgetter(name)(module).detach(), _bias(node)
    each = grid.scales.repeat_interleave(weight.numel() // len(grid.scales)).reshape(len(weight), -1)
    if taken is None:
        values = nearest(weight.double().reshape(len(weight), -1), each, grid.low, grid.high)
        set_parameter_(module, name, values.reshape(weight.shape).to(weight.dtype))
        return {}
    values, gain = rounded(weight, each, grid.low, grid.high, taken, about_mean=bias is not None)
    set_parameter_(module, name, values.to(weight.dtype))
    if bias is None:
        return {}
    before = attrgetter(bias)(module).detach()
    set_parameter_(module, bias, (before.double() + gain).to(before.dtype))
    return {bias: before.numpy().copy()}


def _insert_(module: GraphModule, name: str, nodes: list[Node], grid: Grid) -> None:
    graph, shape = module.graph, list(attrgetter(name)(module).shape)
    owner, _, leaf = name.rpartition(".")
    scale, zero = f"{leaf}_scale", f"{leaf}_zero_point"
    module.get_submodule(owner).register_buffer(scale, grid.scales.float())
    module.get_submodule(owner).register_buffer(zero, torch.zeros(len(grid.scales), dtype=torch.int64))
    with graph.inserting_before(nodes[0]):
        read, *ends = (graph.get_attr(".".join(filter(None, (owner, word)))) for word in (leaf, scale, zero))
        value = read
        if len(grid.scales) != shape[0]:
            value = graph.call_function(aten.reshape.default, (read, [len(grid.scales), -1]))
        for op in (QUANTIZES[1], DEQUANTIZES[1]):
            value = graph.call_function(op, (value, *ends, 0, grid.low, grid.high, torch.int8))
        if len(grid.scales) != shape[0]:
            value = graph.call_function(aten.reshape.default, (value, shape))
    for node in nodes:
        node.update_arg(1, value)


def _is_pointwise(weight: Tensor) -> bool:
    return weight.numel() == weight.shape[0] * weight.shape[1]


def _bias(node: Node) -> str | None:
    bias = node.args[2] if len(node.args) > 2 else None
    return str(bias.target) if isinstance(bias, Node) and bias.op == "get_attr" else None


def _least(scales: Tensor) -> Tensor:
    """Scales as a file holds them, none of them 0."""
    return scales.clamp_min(LEAST_SCALE).double()


def _of_few_bits(scales: Tensor) -> Tensor:
    """Scales of groups: the same in float32, in float16 and in bfloat16, as one or another runtime holds them."""
    return _least(scales).to(torch.bfloat16).to(torch.float16).double()


def _squared_error(rows: Tensor, scales: Tensor) -> Tensor:
    """Of each row in 4 bits."""
    each = scales[:, None]
    steps = (rows / each).round_().clamp_(-8, 7)
    return steps.mul_(each).sub_(rows).square_().sum(dim=1)
