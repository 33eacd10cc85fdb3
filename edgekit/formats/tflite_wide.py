"""Biases of int16 layers as their kernels read them.

litert-torch writes them in 32 bits, and leaves out what says so: LiteRT reads 64 bits then, and sums what lies behind.
"""

from typing import Any

import numpy as np

from edgekit.formats.tflite_file import (
    add_buffer_,
    add_tensor_,
    code_of_,
    constant_of,
    drop_unread_,
    dtype_of,
    kind_of,
    read_file,
    shape_of,
    write_file,
)

VERSIONS = {"CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "FULLY_CONNECTED": 7}
"""The versions of ops that take int16, int8 weights and 64-bit biases, which older runtimes know too."""
OTHERS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 5}
"""The versions of the other layers, float or int8, which the converter gives those of 32-bit biases."""


def with_wide_biases(content: bytes) -> bytes:
    """The file with the biases of its int16 layers in 64 bits; the same where it has none."""
    model = read_file(content)
    graph = model.subgraphs[0]
    layers = [op for op in graph.operators if kind_of(op, model) in VERSIONS]
    wide = [_widen_(op, model, graph) for op in layers]
    if not any(wide):
        return content
    for op in (op for op, is_wide in zip(layers, wide, strict=True) if not is_wide):
        op.opcodeIndex = code_of_(model, kind_of(op, model), OTHERS[kind_of(op, model)])
    drop_unread_(model)
    return write_file(model, len(content))


def _widen_(op: Any, model: Any, graph: Any) -> bool:
    if dtype_of(graph.tensors[op.inputs[0]]) != "INT16":
        return False
    op.opcodeIndex = code_of_(model, kind_of(op, model), VERSIONS[kind_of(op, model)])
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return True
    bias = graph.tensors[op.inputs[2]]
    values = constant_of(bias, model)
    if values is not None and values.dtype == np.int32:
        place = add_tensor_(graph, bias.name, shape_of(bias), "INT64", add_buffer_(model, values.astype(np.int64)))
        graph.tensors[place].quantization = bias.quantization
        op.inputs = [int(op.inputs[0]), int(op.inputs[1]), place]
    return True
