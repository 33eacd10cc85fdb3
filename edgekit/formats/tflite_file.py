"""A .tflite file as objects of LiteRT's schema, which can be changed and written again."""

from typing import Any

import numpy as np

from edgekit.formats.tflite_ops import names_of
from edgekit.models.extras import require

_MAGIC = b"TFL3"
_OLD_CODES = 127
"""What the older, narrower field of an op's kind says where the kind does not fit."""


def read_file(content: bytes) -> Any:
    """The model of a file that a runtime has loaded: a `ModelT`."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def write_file(model: Any, size_bytes: int = 1 << 20) -> bytes:
    """The file of a model; `size_bytes` is about how long it becomes."""
    flatbuffers = require("flatbuffers", extra="tflite")
    builder = flatbuffers.Builder(size_bytes)
    builder.Finish(model.Pack(builder), _MAGIC)
    return bytes(builder.Output())


def kind_of(op: Any, model: Any) -> str:
    """The name of an op's kind."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    code = model.operatorCodes[op.opcodeIndex]
    return names_of(schema.BuiltinOperator).get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")


def dtype_of(tensor: Any) -> str:
    """The name of a tensor's type."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    return names_of(schema.TensorType)[tensor.type]


def shape_of(tensor: Any) -> tuple[int, ...]:
    """A tensor's sizes, -1 where one is free."""
    sizes = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return () if sizes is None else tuple(int(size) for size in sizes)


_CONSTANTS = {"INT32": np.int32, "INT64": np.int64, "INT8": np.int8, "UINT8": np.uint8, "FLOAT32": np.float32,
              "FLOAT16": np.float16, "INT16": np.int16, "BOOL": np.bool_}  # fmt: skip


def constant_of(tensor: Any, model: Any) -> np.ndarray | None:
    """A constant's values; None where the tensor is computed, or its type is none of numpy's."""
    data = model.buffers[tensor.buffer].data
    dtype = _CONSTANTS.get(dtype_of(tensor))
    if data is None or dtype is None:
        return None
    return np.frombuffer(bytes(data), dtype).reshape(shape_of(tensor))


def add_tensor_(graph: Any, name: bytes, shape: tuple[int, ...], dtype: str, buffer: int = 0) -> int:
    """Puts a tensor behind those of a graph; its place."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    tensor = schema.TensorT()
    tensor.name, tensor.shape = name, np.array(shape, np.int32)
    tensor.type, tensor.buffer = getattr(schema.TensorType, dtype), buffer
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_buffer_(model: Any, data: np.ndarray) -> int:
    """Puts a constant's bytes behind those of a model; their place."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data.tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def code_of_(model: Any, kind: str, version: int) -> int:
    """The place of a kind of op in the model's list, which gets it where it is new."""
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    number = getattr(schema.BuiltinOperator, kind)
    for i, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == number and code.version == version:
            return i
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, _OLD_CODES), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def drop_unread_(model: Any) -> None:
    """Takes out of the first graph the ops and tensors that nothing reads, and what only they held."""
    graph = model.subgraphs[0]
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    read = {int(i) for op in graph.operators for i in op.inputs} | ends
    graph.operators = [op for op in graph.operators if any(int(i) in read for i in op.outputs)]
    kept = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)} | ends
    kept |= {place for i in kept if i >= 0 for place in _details(graph.tensors[i])}
    moved = {old: new for new, old in enumerate(sorted(kept - {-1}))} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in sorted(kept - {-1})]
    graph.inputs, graph.outputs = ([moved[int(i)] for i in ends] for ends in (graph.inputs, graph.outputs))
    for op in graph.operators:
        op.inputs, op.outputs = ([moved[int(i)] for i in ends] for ends in (op.inputs, op.outputs))
    for tensor in graph.tensors:
        for _ in _details(tensor):
            tensor.quantization.details.scales = moved[tensor.quantization.details.scales]
    for signature in model.signatureDefs or ():
        for end in (*(signature.inputs or ()), *(signature.outputs or ())):
            end.tensorIndex = moved.get(end.tensorIndex, end.tensorIndex)
    _drop_codes_(model)
    _drop_buffers_(model)


def _details(tensor: Any) -> tuple[int, ...]:
    """The tensor that holds the scales of blocks, where there is one."""
    scales = getattr(getattr(tensor.quantization, "details", None), "scales", None)
    return () if scales is None or not isinstance(scales, int) else (scales,)


def _drop_codes_(model: Any) -> None:
    """Takes out of a model the kinds of op that it has none of: a runtime refuses a file for what it only lists."""
    ops = [op for graph in model.subgraphs for op in graph.operators]
    kept = sorted({int(op.opcodeIndex) for op in ops})
    moved = {old: new for new, old in enumerate(kept)}
    model.operatorCodes = [model.operatorCodes[old] for old in kept]
    for op in ops:
        op.opcodeIndex = moved[int(op.opcodeIndex)]


def _drop_buffers_(model: Any) -> None:
    """Takes out of a model the bytes that no tensor of it holds; the first buffer is that of all that is computed."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    holders = [*tensors, *(model.metadata or ())]
    kept = sorted({0} | {int(holder.buffer) for holder in holders} | {int(i) for i in model.metadataBuffer or ()})
    moved = {old: new for new, old in enumerate(kept)}
    model.buffers = [model.buffers[old] for old in kept]
    for holder in holders:
        holder.buffer = moved[int(holder.buffer)]
    if model.metadataBuffer is not None:
        model.metadataBuffer = [moved[int(i)] for i in model.metadataBuffer]
