"""Weights in fewer bits, put into a .tflite file whose layers a float converter wrote.

The converter knows no form but static int8, and ai-edge-quantizer finds steps of its own. So the program's own steps
are put where the weights' floats are found, which the converter moves to its layout. A factor that the model multiplies
a layer's output by, as attention does, it may move into the weight: then the scales take the factor, the steps stay.

How a layer reads them was measured (LiteRT 2.3, one thread, x86-64). Kernels that take an int8 or 4-bit weight itself
measure what comes in, row by row. Behind a dequantize an op computes in float, and the weight is made float when the
file is loaded. Depthwise convolutions have no fast kernel of the first kind: mobilenet_v2 is 2.7 times as slow by it.
No op is fast with 4 bits behind a dequantize. So:

int8-dynamic   is taken itself, but for depthwise convolutions, which are as int8-weights.
int8-weights   stand behind a dequantize.
int4-weights   are taken themselves; a convolution of one place is made a linear layer, which has fast kernels for
               4 bits. Those of depthwise convolutions are few, and held as int8 behind a dequantize.
fp16           stand behind a dequantize, and are computed with in float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgekit.errors import ConvertError
from edgekit.formats.tflite_file import (
    add_buffer_,
    add_tensor_,
    code_of_,
    constant_of,
    drop_unread_,
    kind_of,
    read_file,
    shape_of,
    write_file,
)
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.compress.bare import StoredWeight

LINEAR, CONV, DEPTHWISE = "FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D"
ORDERS = {2: ((0, 1),), 3: ((0, 2, 1), (1, 2, 0)), 4: ((0, 2, 3, 1), (1, 2, 3, 0))}
"""Into which layouts the converter brings a weight of so many dimensions: output channels first, or last."""
BLOCKS = (32, 64, 128, 256)
"""Values that may share a scale in a linear layer of 4 bits."""
TAKEN = {
    (LINEAR, "INT8"): 12, (CONV, "INT8"): 5, (LINEAR, "INT4"): 12, (CONV, "INT4"): 7,
    ("DEQUANTIZE", "INT8"): 5, ("DEQUANTIZE", "FLOAT16"): 3,
}  # fmt: skip
"""The version of an op that takes such a weight, with a scale a channel: what is older refuses the file."""
BLOCKWISE = 13
NEAR = 1e-5
"""How near to a multiple of a weight its values in a file are, which were multiplied in float32."""


class _Place(NamedTuple):
    """Where a weight is in a file: its values are `stored`'s in another `order`, or the same in a new shape."""

    stored: "StoredWeight"
    order: tuple[int, ...]


def with_stored(content: bytes, stored: Sequence["StoredWeight"], where: str) -> bytes:
    """The file with these weights in the bits that their precisions say.

    Raises: ConvertError naming a layer whose weight is not in the file, or that LiteRT cannot hold so.
    """
    if not stored:
        return content
    model = read_file(content)
    graph = model.subgraphs[0]
    places = _placed(graph, model, stored, where)
    made: dict[tuple[int, str], int] = {}
    ops: list[Any] = []
    for i, op in enumerate(graph.operators):
        if i in places:
            ops += _stored_(op, places[i], model, graph, made, where)
        ops.append(op)
    graph.operators = ops
    drop_unread_(model)
    return write_file(model, len(content))


def _placed(graph: Any, model: Any, stored: Sequence["StoredWeight"], where: str) -> dict[int, _Place]:
    """Which weight each op reads, by the op's number. Raises: ConvertError naming a layer whose weight no op reads."""
    read = {i: values for i, op in enumerate(graph.operators) if (values := _weight_of(op, model, graph)) is not None}
    known = {
        _key(weight.values.transpose(order)): _Place(weight, order)
        for weight in reversed(stored)
        for order in ORDERS.get(weight.values.ndim, ())[::-1]
    }
    found = {i: known[key] for i, values in read.items() if (key := _key(values)) in known}
    for i in sorted(read.keys() - found.keys()):
        if (place := _scaled(read[i], _lost(stored, found))) is not None:
            found[i] = place
    if lost := _lost(stored, found):
        raise ConvertError(
            f"{where}: {lost[0].layer}: its weight is not in the file as it is in the model, so it cannot be stored as "
            f"{lost[0].precision}: leave that layer in fp32"
        )
    return found


def _lost(stored: Sequence["StoredWeight"], found: Mapping[int, _Place]) -> list["StoredWeight"]:
    layers = {place.stored.layer for place in found.values()}
    return [weight for weight in stored if weight.layer not in layers]


def _scaled(values: np.ndarray, stored: Sequence["StoredWeight"]) -> _Place | None:
    """The weight whose output channels these are, each times a factor above zero, with scales that have the factors."""
    for weight in stored:
        shape = weight.values.shape
        if weight.scales is None or weight.values.size != values.size:
            continue
        rows = weight.values.reshape(shape[0], -1).astype(np.float64)
        for order in ORDERS.get(len(shape), ()):
            there = values.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
            there = there.reshape(rows.shape).astype(np.float64)
            size = np.maximum((rows * rows).sum(1), np.finfo(np.float32).tiny)
            factors = np.where(rows.any(1), (there * rows).sum(1) / size, 1.0)
            if (factors > 0).all() and np.allclose(there, rows * factors[:, None], rtol=NEAR, atol=0.0):
                scales = weight.scales * np.repeat(factors, weight.groups)
                return _Place(replace(weight, scales=scales.astype(np.float32)), order)
    return None


def _key(values: np.ndarray) -> bytes:
    """The bytes of floats, -0 taken as 0."""
    return (np.ascontiguousarray(values, np.float32) + np.float32(0)).tobytes()


def _weight_of(op: Any, model: Any, graph: Any) -> np.ndarray | None:
    """The floats that a layer reads; None of another op, and of a layer that reads something else."""
    if kind_of(op, model) not in (LINEAR, CONV, DEPTHWISE):
        return None
    values = constant_of(graph.tensors[op.inputs[1]], model)
    return None if values is None or values.dtype != np.float32 else values


def _stored_(op: Any, place: _Place, model: Any, graph: Any, made: dict[tuple[int, str], int], where: str) -> list[Any]:
    """Gives `op` the weight in fewer bits; the dequantize that stands in front of it now, if one does."""
    weight, old = place.stored, int(op.inputs[1])
    if weight.precision == "int4-weights":
        _as_linear_(op, model, graph)
    kind = kind_of(op, model)
    dtype = _dtype(weight, kind)
    if (old, kind) not in made:
        made[old, kind] = _tensor_(place, kind, dtype, old, model, graph, where)
    new = made[old, kind]
    if weight.precision in ("int8-dynamic", "int4-weights") and kind != DEPTHWISE:
        op.inputs = [int(op.inputs[0]), new, *(int(i) for i in op.inputs[2:])]
        op.opcodeIndex = code_of_(model, kind, BLOCKWISE if weight.groups > 1 else TAKEN[kind, dtype])
        return []
    back = made.get((new, "DEQUANTIZE"))
    if back is not None:
        op.inputs = [int(op.inputs[0]), back, *(int(i) for i in op.inputs[2:])]
        return []
    back = add_tensor_(graph, graph.tensors[old].name, shape_of(graph.tensors[new]), "FLOAT32")
    made[new, "DEQUANTIZE"] = back
    op.inputs = [int(op.inputs[0]), back, *(int(i) for i in op.inputs[2:])]
    return [_dequantize(new, back, dtype, model)]


def _dtype(weight: "StoredWeight", kind: str) -> str:
    if weight.steps is None:
        return "FLOAT16"
    return "INT4" if weight.precision == "int4-weights" and kind != DEPTHWISE else "INT8"


def _as_linear_(op: Any, model: Any, graph: Any) -> None:
    """Makes a linear layer of a convolution of one place, which computes the same."""
    options, shape = op.builtinOptions, shape_of(graph.tensors[op.inputs[1]])
    if kind_of(op, model) != CONV or shape[1:3] != (1, 1) or (options.strideW, options.strideH) != (1, 1):
        return
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    linear = schema.FullyConnectedOptionsT()
    linear.fusedActivationFunction, linear.keepNumDims = options.fusedActivationFunction, True
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.FullyConnectedOptions, linear
    op.opcodeIndex = code_of_(model, LINEAR, TAKEN[LINEAR, "INT4"])


def _tensor_(place: _Place, kind: str, dtype: str, old: int, model: Any, graph: Any, where: str) -> int:
    """Puts the weight into the graph in fewer bits; its place."""
    weight, shape = place.stored, shape_of(graph.tensors[old])
    shape = (shape[0], shape[-1]) if kind == LINEAR else shape
    if weight.steps is None or weight.scales is None:
        halves = weight.values.transpose(place.order).astype(np.float16)
        return add_tensor_(graph, graph.tensors[old].name, shape, dtype, add_buffer_(model, halves))
    steps = weight.steps.reshape(weight.values.shape).transpose(place.order)
    data = packed(steps) if dtype == "INT4" else np.ascontiguousarray(steps)
    made = add_tensor_(graph, graph.tensors[old].name, shape, dtype, add_buffer_(model, data))
    graph.tensors[made].quantization = _scales_(weight, shape, made, kind, model, graph, where)
    return made


def _scales_(
    weight: "StoredWeight", shape: tuple[int, ...], made: int, kind: str, model: Any, graph: Any, where: str
) -> Any:
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    found = schema.QuantizationParametersT()
    found.quantizedDimension = len(shape) - 1 if kind == DEPTHWISE else 0
    scales = np.asarray(weight.scales, np.float32)
    if weight.groups == 1:
        found.scale, found.zeroPoint = scales, np.zeros(len(scales), np.int64)
        return found
    size = shape[-1] // weight.groups
    halves = scales.reshape(-1, weight.groups).astype(np.float16)
    if kind != LINEAR or size not in BLOCKS or (halves.astype(np.float32).reshape(-1) != scales).any():
        raise ConvertError(
            f"{where}: {weight.layer}: {weight.groups} scales for each output channel: LiteRT has blocks of "
            f"{', '.join(map(str, BLOCKS))} in linear layers, with scales in half: give the target int4_group = 32"
        )
    details = schema.BlockwiseQuantizationT()
    name = graph.tensors[made].name + b"/scales"
    details.scales = add_tensor_(graph, name, halves.shape, "FLOAT16", add_buffer_(model, halves))
    details.zeroPoints, details.blockSize = -1, size
    found.detailsType, found.details = schema.QuantizationDetails.BlockwiseQuantization, details
    found.quantizedDimension = 0
    return found


def packed(steps: np.ndarray) -> np.ndarray:
    """4-bit steps, two in a byte, the first in the lower half.

    >>> packed(np.array([1, -1, 7])).tolist()
    [241, 7]
    """
    flat = np.append(steps.reshape(-1), np.zeros(steps.size % 2)).astype(np.int8).astype(np.uint8) & 15
    return np.asarray(flat[0::2] | flat[1::2] << 4, np.uint8)


def unpacked(data: np.ndarray, count: int) -> np.ndarray:
    """What `packed` packed.

    >>> unpacked(packed(np.array([1, -8, 7])), 3).tolist()
    [1, -8, 7]
    """
    halves = np.stack((data & 15, data >> 4), axis=1).reshape(-1)[:count].astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(np.int8)


def _dequantize(takes: int, gives: int, dtype: str, model: Any) -> Any:
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    op = schema.OperatorT()
    op.opcodeIndex = code_of_(model, "DEQUANTIZE", TAKEN["DEQUANTIZE", dtype])
    op.inputs, op.outputs = [takes], [gives]
    op.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    op.builtinOptions = schema.DequantizeOptionsT()
    return op
