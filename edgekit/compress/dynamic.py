"""Activations quantized at run time: what a layer takes has the scale of its own range, taken anew at each call.

It is what ONNX calls DynamicQuantizeLinear: 256 steps over a range that has 0 in it, the same for the whole tensor.
"""

from collections.abc import Mapping
from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from edgekit.compress.quantizer import is_layer, layer_name
from edgekit.core.recipe import Precision

decomposed = torch.ops.quantized_decomposed
CHOOSES = decomposed.choose_qparams.tensor
QUANTIZES_BY, DEQUANTIZES_BY = decomposed.quantize_per_tensor.tensor, decomposed.dequantize_per_tensor.tensor
MEASURES = (CHOOSES, QUANTIZES_BY, DEQUANTIZES_BY)
"""The ops of a quantize at run time: its scale and zero point are computed values."""
LOW, HIGH = -128, 127
EPSILON = 2.0**-40
"""The scale of a tensor of zeros, which any scale is right for."""


def measure_inputs_(module: GraphModule, precisions: Mapping[str, Precision]) -> GraphModule:
    """`module`, changed in place: a quantize with scales of the moment in front of its int8-dynamic layers.

    Layers that take the same value share its quantize; each has a dequantize of its own.
    """
    graph: Any = module.graph
    measured: dict[Node, tuple[Node, Node, Node]] = {}
    grid = (LOW, HIGH, torch.int8)
    for node in list(graph.nodes):
        if not is_layer_of(node, precisions, "int8-dynamic"):
            continue
        value = node.args[0]
        with graph.inserting_before(node):
            if value not in measured:
                found = graph.call_function(CHOOSES, (value, LOW, HIGH, EPSILON, torch.int8))
                scale, zero = (graph.call_function(getitem, (found, i)) for i in range(2))
                steps = graph.call_function(QUANTIZES_BY, (value, scale, zero, *grid))
                measured[value] = (scale, zero, steps)
            scale, zero, steps = measured[value]
            node.update_arg(0, graph.call_function(DEQUANTIZES_BY, (steps, scale, zero, *grid)))
    module.recompile()
    return module


def is_layer_of(node: Node, precisions: Mapping[str, Precision], *wanted: Precision) -> bool:
    """Whether `node` is a layer, its weight as it was captured, of one of the precisions that are wanted."""
    return is_layer(node) and precisions.get(layer_name(node), "fp32") in wanted


def chosen(value: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """The scale and the zero point of `value`, as ONNX defines them; the scale as every runtime holds it: float32.

    >>> [float(x) for x in chosen(torch.tensor([-1.0, 0.5, 4.1]), -128, 127)]
    [0.019999999552965164, -78.0]
    """
    least, most = (torch.minimum(value.min(), value.new_zeros(())), torch.maximum(value.max(), value.new_zeros(())))
    scale = ((most - least) / (high - low)).clamp_min(EPSILON).float().to(value.dtype)
    return scale, torch.clamp(low - torch.round(least / scale), low, high)
