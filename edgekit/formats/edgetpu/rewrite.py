"""Turns ops that the Edge TPU has not into ones that it has, where the result is the same to the bit.

litert-torch pads for a max pool with the least integer, an op of its own. What comes out of a ReLU has its zero there:
then it is an ordinary pad. And it averages an image after it has put channels first, where the Edge TPU has the
average of some sizes only.
"""

from typing import Any

import numpy as np

from edgekit.formats.tflite_file import constant_of, kind_of, read_file, write_file
from edgekit.models.extras import require

CHANNELS_FIRST = [0, 3, 1, 2]


def rewritten(content: bytes) -> bytes:
    """The file with these ops turned; the same where there are none."""
    model = read_file(content)
    graph = model.subgraphs[0]
    turned = [_pad_(op, model, graph) or _mean_(op, model, graph) for op in graph.operators]
    if not any(turned):
        return content
    _without_unread_(graph)
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
    op.opcodeIndex = _code(model, schema.BuiltinOperator.PAD, 2)
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.PadOptions, schema.PadOptionsT()
    return True


def _mean_(op: Any, model: Any, graph: Any) -> bool:
    """Averages an image over height and width where its channels are last still, not behind a transpose."""
    if kind_of(op, model) != "MEAN" or (axes := constant_of(graph.tensors[op.inputs[1]], model)) is None:
        return False
    makers = [other for other in graph.operators if op.inputs[0] in other.outputs]
    moves = len(makers) == 1 and kind_of(makers[0], model) == "TRANSPOSE"
    order = constant_of(graph.tensors[makers[0].inputs[1]], model) if moves else None
    if order is None or order.tolist() != CHANNELS_FIRST or sorted(axes.reshape(-1) % 4) != [2, 3]:
        return False
    if op.builtinOptions.keepDims:  # then height and width are in other places
        return False
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array([1, 2], np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type = np.array([2], np.int32), schema.TensorType.INT32
    tensor.buffer, tensor.name = len(model.buffers) - 1, b"edgekit/height_and_width"
    graph.tensors.append(tensor)
    op.inputs = [int(makers[0].inputs[0]), len(graph.tensors) - 1]
    return True


def _without_unread_(graph: Any) -> None:
    """Takes the ops out that nothing reads any more."""
    read = {int(i) for op in graph.operators for i in op.inputs} | {int(i) for i in graph.outputs}
    graph.operators = [op for op in graph.operators if any(int(i) in read for i in op.outputs)]


def _code(model: Any, builtin: int, version: int) -> int:
    """The place of a kind of op in the file's list, which gets it where it is new."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    for i, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.version == version:
            return i
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
