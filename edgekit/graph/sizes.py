"""The free sizes of a file, under the names that a model gives them."""

import re
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgekit.core.model import TensorSpec


def name_sizes_(model: ir.Model, inputs: Sequence[TensorSpec]) -> ir.Model:
    """Names the free sizes of the file's inputs as in `inputs`, and in all shapes that are made of them."""
    names: dict[str, str] = {}
    for value, spec in zip(model.graph.inputs, inputs, strict=True):
        for axis in spec.free:
            size = value.shape[axis.axis] if value.shape is not None else None
            if isinstance(size, ir.SymbolicDim) and size.value is not None:
                names[size.value] = axis.name
    inside = (value for node in model.graph for value in node.outputs)
    for value in (*model.graph.inputs, *inside):
        if names and value.shape is not None and any(isinstance(size, ir.SymbolicDim) for size in value.shape):
            value.shape = ir.Shape([_named(size, names) for size in value.shape])
    return model


def _named(size: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | ir.SymbolicDim:
    """A size in the model's own words; some are sums or products."""
    if isinstance(size, int) or size.value is None:
        return size
    return ir.SymbolicDim(re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), size.value))
