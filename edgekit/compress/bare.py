"""A program as a float converter takes it: what is stored in fewer bits left out of the graph, to be put in afterwards.

Weights that are stored keep their values, which lie on their grids, so that the steps can be found in whatever file has
them. Layers that are static int8 or int16 stay as they are.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from edgekit.compress.dynamic import DEQUANTIZES_BY
from edgekit.compress.half import CASTS, HALVES
from edgekit.compress.quantizer import LAYERS, aten
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, set_parameter_, source_of
from edgekit.compress.weights import STORED
from edgekit.core.recipe import Precision
from edgekit.models.program import Program

_STORES = (*QUANTIZES, *DEQUANTIZES, CASTS, aten.reshape.default)


@dataclass(frozen=True)
class StoredWeight:
    """The weight of a layer whose precision stores it in fewer bits.

    `values` are its floats, in torch's layout. Of integers `scales` has one for each row, equal parts of the weight in
    order, and `steps` are the rows in whole scales; a weight in half has neither.
    """

    layer: str
    precision: Precision
    values: np.ndarray
    scales: np.ndarray | None = None
    steps: np.ndarray | None = None

    @property
    def groups(self) -> int:
        """How many scales an output channel has."""
        return 1 if self.scales is None else len(self.scales) // len(self.values)


def bare(program: Program) -> tuple[GraphModule, tuple[StoredWeight, ...]]:
    """The program's module without what stores weights or measures values, and the weights that it stored."""
    module = program.exported.module(check_guards=False)
    read = {str(node.target): node for node in module.graph.nodes if node.op == "get_attr"}
    stored: dict[str, StoredWeight] = {}
    for node in [n for n in module.graph.nodes if n.target in LAYERS]:
        name = _parameter(node.args[1])
        precision = program.precisions.get(str(name).removesuffix(".weight"), "fp32")
        if name is None or precision not in (*STORED, *HALVES):
            continue
        stored[name] = _stored(module, precision, name, node.args[1])
        node.update_arg(1, read[name])
        bias = _parameter(node.args[2]) if len(node.args) > 2 else None
        if bias is not None and precision in HALVES:
            halved = attrgetter(bias)(module).detach().to(HALVES[precision])
            set_parameter_(module, bias, halved.float())
    for node in list(module.graph.nodes):
        if node.target is DEQUANTIZES_BY:
            node.replace_all_uses_with(source_of(node))
        elif _is_of_half(node):
            node.replace_all_uses_with(node.args[0])
    for name, weight in stored.items():
        set_parameter_(module, name, torch.from_numpy(weight.values.copy()))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module, tuple(stored.values())


def _stored(module: GraphModule, precision: Precision, name: str, weight: Any) -> StoredWeight:
    values, layer = attrgetter(name)(module).detach(), name.removesuffix(".weight")
    if precision in HALVES:
        return StoredWeight(layer, precision, values.to(HALVES[precision]).float().numpy())
    dequantize = weight if weight.target in DEQUANTIZES else weight.args[0]
    scales = attrgetter(str(dequantize.args[1].target))(module).detach().float()
    low, high = dequantize.args[4:6]
    rows = values.double().reshape(len(scales), -1) / scales.double()[:, None]
    steps = rows.round().clamp(low, high).to(torch.int8)
    exact = (steps.double() * scales.double()[:, None]).float().reshape(values.shape)
    return StoredWeight(layer, precision, exact.numpy(), scales.numpy(), steps.numpy())


def _parameter(value: Any) -> str | None:
    """The parameter behind quantizes, a reshape to rows or a cast; None if there is none."""
    while isinstance(value, Node) and value.target in _STORES:
        value = value.args[0]
    return str(value.target) if isinstance(value, Node) and value.op == "get_attr" else None


def _is_of_half(node: Node) -> bool:
    """Whether a node only casts to a half, or back from one."""
    value = node.args[0].meta.get("val") if node.target is CASTS else None  # type: ignore[union-attr]
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return False
    return node.kwargs["dtype"] in HALVES.values() or value.dtype in HALVES.values()
