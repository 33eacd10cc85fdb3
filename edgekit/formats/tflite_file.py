"""A .tflite file as objects of LiteRT's schema, which can be changed and written again."""

from typing import Any

import numpy as np

from edgekit.formats.tflite_ops import names_of
from edgekit.models.extras import require

_MAGIC = b"TFL3"


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
