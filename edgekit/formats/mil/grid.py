"""A weight on its grid: whole steps, and the scale of each block of them."""

import hashlib
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """`steps` (int8, none above 7 and below -8 where `bits` is 4), and `scale`: of its rank, one for each block."""

    steps: np.ndarray
    scale: np.ndarray
    bits: int

    @classmethod
    def of_rows(cls, steps: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int, high: int) -> "Grid":
        """The grid of steps with a scale for each place of `axis`, or for each equal part of `steps` in order.

        Raises: ValueError if a zero is not at zero.

        >>> Grid.of_rows(np.zeros((4, 6, 3), np.int8), np.ones(8), np.zeros(8), 0, 7).scale.shape
        (4, 2, 1)
        """
        if np.any(zero):
            raise ValueError("a weight whose zero is not at step 0")
        blocks = [1] * steps.ndim
        blocks[axis] = steps.shape[axis]
        if scale.size != steps.shape[axis]:
            blocks[1] = scale.size // steps.shape[0]
        return cls(steps, scale.astype(np.float32).reshape(blocks), 4 if high < 8 else 8)

    @property
    def values(self) -> np.ndarray:
        """The weight as float32, as formats expand it: each step times its scale."""
        found, scale = self.steps.astype(np.float32), self.scale
        for axis, size in enumerate(found.shape):
            scale = np.repeat(scale, size // scale.shape[axis], axis)
        return found * scale

    @property
    def is_per_channel(self) -> bool:
        """Whether no axis but the first has more than one block."""
        return self.scale.size == self.scale.shape[0]


def digest_of(values: np.ndarray) -> bytes:
    """What weights of equal values in equal order have in common, whatever their shape; a zero has no sign."""
    return hashlib.sha256(np.ascontiguousarray(values + np.float32(0), np.float32).tobytes()).digest()
