"""The weights of a neural network (WeightParams): as floats, as halves, or in few bits with a table or with scales."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import ConvertError
from edgekit.formats.mil.grid import Grid
from edgekit.formats.mil.storing import Held, smallest
from edgekit.formats.mil.values import unpacked

PALETTES = Held(palette_bits=(1, 2, 3, 4, 5, 6, 7, 8))
"""One for a whole weight."""
_MIDDLE = 128


def read_weights(params: Any, shape: list[int], axis: int = 0) -> Tensor:
    """Weights as float32; `axis` is that of scales.

    Raises: ValueError if they are not as many as they should be.
    """
    count = prod(shape)
    if params.float16Value:
        values = np.frombuffer(params.float16Value, np.float16).astype(np.float32)
    elif params.rawValue:
        values = _opened(params, shape, count, axis)
    else:
        values = np.asarray(params.floatValue, np.float32)
    if values.size != count:
        raise ValueError(f"{values.size} weights for {'×'.join(map(str, shape))}")
    return torch.from_numpy(np.array(values.reshape(shape)))


def _opened(params: Any, shape: Sequence[int], count: int, axis: int) -> np.ndarray:
    bits = int(params.quantization.numberOfBits)
    data = np.frombuffer(params.rawValue, np.uint8)
    if not 1 <= bits <= 8 or data.size != (count * bits + 7) // 8:
        raise ValueError(f"{data.size} bytes for {count} numbers of {bits} bits")
    whole = np.unpackbits(data)[: count * bits].reshape(count, bits)[:, ::-1]
    codes = unpacked(np.packbits(whole.reshape(-1), bitorder="little"), bits, count)
    if params.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        return np.asarray(params.quantization.lookupTableQuantization.floatValue, np.float32)[codes]
    linear = params.quantization.linearQuantization
    spread = [-1 if i == axis else 1 for i in range(len(shape))]
    scale, bias = (np.asarray(values or [0.0], np.float32).reshape(spread) for values in (linear.scale, linear.bias))
    return codes.reshape(shape).astype(np.float32) * scale + bias


def shrink_weights_(params: Any) -> None:
    """Writes the float32 `params` in the smallest form that changes no value: a palette, or halves."""
    values = np.asarray(params.floatValue, np.float32)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    are_halves = np.array_equal(halves.astype(np.float32), values)
    stored = smallest(values, PALETTES, [(1,)], bits=16 if are_halves else 32)
    if stored.table is None and not are_halves:
        return
    params.ClearField("floatValue")
    if stored.codes is None or stored.table is None:
        params.float16Value = halves.tobytes()
        return
    params.rawValue = _high_first(stored.codes, stored.bits)
    params.quantization.numberOfBits = stored.bits
    params.quantization.lookupTableQuantization.floatValue.extend(stored.table.reshape(-1))


def write_grid_(params: Any, grid: Grid) -> None:
    """Writes `params` as the steps of `grid`.

    What is opened is step × scale rounded twice, because the format has no zero of its own: (step + 128) × scale, less
    128 × scale. It is at most a 65,000th part of a step off.

    Raises: ConvertError if a channel has more than one scale.
    """
    if not grid.is_per_channel:
        raise ConvertError("a neural network has one scale for an output channel, and none for a part of one")
    scale = grid.scale.reshape(-1)
    params.ClearField("floatValue")
    params.rawValue = (grid.steps.astype(np.int16) + _MIDDLE).astype(np.uint8).tobytes()
    params.quantization.numberOfBits = 8
    params.quantization.linearQuantization.scale.extend(scale)
    params.quantization.linearQuantization.bias.extend(-_MIDDLE * scale)


def _high_first(codes: np.ndarray, bits: int) -> bytes:
    """Numbers of `bits` bits one after the other, from the highest bit of each byte on.

    >>> list(_high_first(np.array([0, 3, 2, 1, 3]), 2))
    [57, 192]
    """
    spread = codes.reshape(-1, 1).astype(np.uint8) >> np.arange(bits - 1, -1, -1, dtype=np.uint8) & 1
    return np.packbits(spread.reshape(-1)).tobytes()
