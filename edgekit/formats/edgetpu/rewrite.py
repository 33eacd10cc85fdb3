"""Turns ops that the Edge TPU has not into ones that it has, where the result is the same to the bit.

litert-torch pads for a max pool with the least integer, an op of its own. What comes out of a ReLU has its zero there:
then it is an ordinary pad. And it averages an image after it has put channels first, where the Edge TPU has the
average of some sizes only.
"""

from typing import Any

import numpy as np

from edgekit.formats.tflite_file import (
    add_buffer_,
    add_tensor_,
    code_of_,
    constant_of,
    drop_unread_,
    kind_of,
    read_file,
    write_file,
)
from edgekit.models.extras import require


def rewritten(content: bytes) -> bytes:
    """The file with these ops turned; the same where there are none."""
    model = read_file(content)
    graph = model.subgraphs[0]
    turned = [_pad_(op, model, graph) or _mean_(op, model, graph) for op in graph.operators]
    if not any(turned):
        return content
    drop_unread_(model)
    return write_file(model, len(content))


def _pad_(op: Any, model: Any, graph: Any) -> bool:
    """Makes a PAD of a PADV2 that pads with the zero of what it takes."""
    if kind_of(op, model) != "PADV2":
        return False
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    takes, value = graph.tensors[op.inputs[0]], constant_of(graph.tensors[op.inputs[2]], model)
    zeros = getattr(takes.quantization, "zeroPoint", None)
    if value is None or zeros is None or len(zeros) != 1 or value.dtype != np.int8 or (value != zeros[0]).any():
        return False
    op.inputs = op.inputs[:2]
    op.opcodeIndex = code_of_(model, "PAD", 2)
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
    return True


def _mean_(op: Any, model: Any, graph: Any) -> bool:
    """Averages in the order in front of a transpose, where what is left of the axes keeps its order."""
    if kind_of(op, model) != "MEAN" or op.builtinOptions.keepDims:
        return False
    axes = constant_of(graph.tensors[op.inputs[1]], model)
    makers = [other for other in graph.operators if op.inputs[0] in other.outputs]
    if axes is None or len(makers) != 1 or kind_of(makers[0], model) != "TRANSPOSE":
        return False
    order = constant_of(graph.tensors[makers[0].inputs[1]], model)
    if order is None:
        return False
    gone = {int(axis) % len(order) for axis in axes.reshape(-1)}
    left = [int(order[i]) for i in range(len(order)) if i not in gone]
    if left != sorted(left):
        return False
    before = np.array(sorted(int(order[i]) for i in gone), np.int32)
    place = add_tensor_(graph, b"edgekit/axes", before.shape, "INT32", add_buffer_(model, before))
    op.inputs = [int(makers[0].inputs[0]), place]
    return True
