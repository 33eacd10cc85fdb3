"""Types and values of an ML program: what is written in it, and what lies in its weight files.

A weight file (as coremltools 9.0 writes it) holds blobs, each behind 64 bytes that say its type, size and place. All
sizes are looked at before anything is made of them: the file may be anyone's.
"""

import struct
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np

from edgekit.errors import ArtifactError

_BLOB = struct.Struct("<IIQQ")
_SENTINEL = 0xDEADBEEF
_PLAIN = {
    "BOOL": "bool", "FLOAT16": "float16", "FLOAT32": "float32", "FLOAT64": "float64", "INT8": "int8", "INT16": "int16",
    "INT32": "int32", "INT64": "int64", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64",
}  # fmt: skip
_PACKED = {"INT4": 4, "UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6}
"""Bits of the types that are narrower than a byte: packed from the lowest bit on."""
_WORDS = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64"}


class Type(NamedTuple):
    """A tensor's element type as the format calls it (FLOAT16, INT8, …) and its shape; None: not said, or free."""

    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def numpy(self) -> str:
        """The numpy type that holds it."""
        return _PLAIN.get(self.dtype, "int8" if self.dtype == "INT4" else "uint8")

    @property
    def word(self) -> str:
        """What ops call the element type: fp16, int8, …"""
        return _WORDS.get(self.dtype, self.dtype.lower())


def bits_of(kind: Type) -> int:
    """Bits of an element.

    >>> bits_of(Type("INT4", None)), bits_of(Type("FLOAT16", None))
    (4, 16)
    """
    return _PACKED.get(kind.dtype, 8 * np.dtype(kind.numpy).itemsize)


def type_of(value_type: Any) -> Type:
    """The type of a variable.

    Raises: ArtifactError if it is no tensor, or of elements that are not known.
    """
    kind = value_type.WhichOneof("type")
    if kind != "tensorType":
        raise ArtifactError(f"it has a value of type {kind}: edgekit's evaluator knows tensors")
    tensor = value_type.tensorType
    enum = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number
    dtype = enum[tensor.dataType].name if tensor.dataType in enum else str(tensor.dataType)
    if dtype not in _PLAIN and dtype not in _PACKED and dtype != "STRING":
        raise ArtifactError(f"it has elements of type {dtype}, which edgekit's evaluator does not know")
    sizes = tuple(int(d.constant.size) if d.HasField("constant") else None for d in tensor.dimensions)
    return Type(dtype, sizes)


def value_of(value: Any, file: Callable[[str], bytes]) -> np.ndarray | str | tuple[str, ...]:
    """What a constant is: an array, or text.

    Raises: ArtifactError if its size is not what its type says, or its file is damaged.
    """
    kind = type_of(value.type)
    shape = tuple(size for size in kind.shape or () if size is not None)
    if kind.shape is None or len(shape) != len(kind.shape):
        raise ArtifactError("it has a constant of free size")
    if value.WhichOneof("value") == "blobFileValue":
        blob = value.blobFileValue
        return _array(_blob(file(blob.fileName), blob.offset, blob.fileName), kind, shape)
    tensor = value.immediateValue.tensor
    held = tensor.WhichOneof("value")
    if held is None:
        return np.zeros(shape, kind.numpy) if prod(shape) == 0 else _refuse(kind, shape, 0)
    values = getattr(tensor, held).values
    if held == "strings":
        return values[0] if len(values) == 1 and not shape else tuple(values)
    if held == "bytes":
        return _array(values, kind, shape)
    found = np.asarray(values, dtype=kind.numpy)
    return found.reshape(shape) if found.size == prod(shape) else _refuse(kind, shape, found.size)


def _blob(content: bytes, offset: int, name: str) -> memoryview:
    if not 0 <= offset <= len(content) - _BLOB.size:
        raise ArtifactError(f"{name} has {len(content)} bytes, and a value is to begin at {offset}")
    sentinel, _, size, start = _BLOB.unpack_from(content, offset)
    if sentinel != _SENTINEL or start + size > len(content):
        raise ArtifactError(f"{name} is damaged: there is no value at {offset}")
    return memoryview(content)[start : start + size]


def _array(data: bytes | memoryview, kind: Type, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes as an array; narrow elements are unpacked to a byte each."""
    count, bits = prod(shape), bits_of(kind)
    if len(data) != (count * bits + 7) // 8:
        return _refuse(kind, shape, len(data) * 8 // bits)
    if kind.dtype not in _PACKED:
        return np.frombuffer(data, kind.numpy).reshape(shape)
    found = unpacked(np.frombuffer(data, np.uint8), bits, count)
    return (
        (np.where(found >= 8, found - 16, found) if kind.dtype == "INT4" else found).astype(kind.numpy).reshape(shape)
    )


def unpacked(data: np.ndarray, bits: int, count: int) -> np.ndarray:
    """The first `count` numbers of `bits` bits each, packed from the lowest bit of each byte on.

    >>> unpacked(np.array([0b01_10_11_00, 0b11], np.uint8), 2, 5).tolist()
    [0, 3, 2, 1, 3]
    """
    each = np.unpackbits(data, bitorder="little")[: count * bits].reshape(count, bits)
    return each.astype(np.int16) @ (1 << np.arange(bits, dtype=np.int16))


def _refuse(kind: Type, shape: tuple[int, ...], found: int) -> np.ndarray:
    wanted = "×".join(map(str, shape)) or "one"
    raise ArtifactError(f"it has a constant of {wanted} {kind.dtype} that holds {found} of them")
