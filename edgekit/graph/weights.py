"""Stored weights as a file has them: steps behind a dequantize, which is known by the name that the program gave it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.core.recipe import Precision
from edgekit.graph.values import constant, readers

StoredLayers = Mapping[str, tuple[str, Precision]]
"""By the name of a weight's dequantize, its layer and that layer's precision."""


@dataclass(frozen=True)
class Weight:
    """A stored weight: `steps` as torch has its weights, `scales` for each of its rows, and what dequantizes it."""

    dequantize: ir.Node
    steps: np.ndarray
    scales: np.ndarray

    @property
    def name(self) -> str:
        """A name for what is made of it."""
        return str(self.dequantize.outputs[0].name)


def stored_in(model: ir.Model, stored: StoredLayers) -> Iterator[tuple[Weight, tuple[str, Precision]]]:
    """Each stored weight of `model`, as steps by now, with its layer and that layer's precision."""
    for node in list(model.graph):
        layer = stored.get(str(node.outputs[0].name)) if node.op_type == "DequantizeLinear" else None
        if layer is not None and (weight := _weight(node)) is not None:
            yield weight, layer


def _weight(dequantize: ir.Node) -> Weight | None:
    """What a dequantize gives back; behind it, rows may be reshaped to a weight."""
    rows, scales = constant(dequantize.inputs[0]), constant(dequantize.inputs[1])
    if rows is None or scales is None:
        return None
    shapes = [constant(reader.inputs[1]) for reader in readers(dequantize.outputs[0]) if reader.op_type == "Reshape"]
    steps = rows if not shapes or shapes[0] is None else rows.reshape([int(size) for size in shapes[0]])
    return Weight(dequantize, steps, scales.reshape(-1))


def layers_of(value: ir.Value) -> Iterator[ir.Node]:
    """The ops that compute with a weight, behind what only moves it."""
    for reader in readers(value):
        if reader.op_type in ("Reshape", "Transpose"):
            yield from layers_of(reader.outputs[0])
        else:
            yield reader
