"""Calls of a model that takes whole batches only."""

from collections.abc import Callable, Sequence

import numpy as np

from edgekit.core.model import ModelSpec


def batch_of(spec: ModelSpec) -> tuple[int, ...]:
    """The rows of each input in one call, of the example's size."""
    return tuple(tensor.shape[0] for tensor in spec.inputs)


def in_batches(
    call: Callable[[tuple[np.ndarray, ...]], Sequence[np.ndarray]],
    inputs: tuple[np.ndarray, ...],
    batch: int | Sequence[int],
) -> tuple[np.ndarray, ...]:
    """The outputs of `call` for all samples, called with exactly `batch` rows at a time; a smaller rest is filled up.

    `batch` may be one number for each input: a value inside a net may have several rows a sample, and so may an output.

    >>> in_batches(lambda arrays: (2 * arrays[0],), (np.arange(5),), 2)[0].tolist()
    [0, 2, 4, 6, 8]
    >>> in_batches(lambda arrays: (arrays[1],), (np.arange(3), np.arange(6)), (1, 2))[0].tolist()
    [0, 1, 2, 3, 4, 5]
    """
    sizes = (batch,) * len(inputs) if isinstance(batch, int) else tuple(batch)
    count = len(inputs[0])
    calls = -(-count // sizes[0])
    parts = [call(tuple(_part(a, size, i) for a, size in zip(inputs, sizes, strict=True))) for i in range(calls)]
    kept = [len(array) * count // sizes[0] for array in parts[0]]
    return tuple(np.concatenate(arrays)[:rows] for arrays, rows in zip(zip(*parts, strict=True), kept, strict=True))


def _part(array: np.ndarray, size: int, index: int) -> np.ndarray:
    part = np.ascontiguousarray(array[index * size : (index + 1) * size])
    missing = size - len(part)
    return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
