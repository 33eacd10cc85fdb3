"""What the ONNX operators of this package share: values, the call of an operator, and known numbers.

A value is a tensor, a float (a constant of one element), None (left out) or a numpy array: numbers that are known
before the model runs, such as a shape, on which arithmetic is done at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import ModelError

Value = Any
Operator = Callable[..., Value]


@dataclass(frozen=True)
class Call:
    """What an operator sees beside its inputs: the node's name, its attributes, the version of the operator set."""

    op: str
    name: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> ModelError:
        """The error for an attribute that this reader does not take."""
        return ModelError(
            f"ONNX node {self.name!r} ({self.op}): {why}, which edgekit does not read: give the model as an nn.Module "
            'in "file.py:function", or as a .pt2'
        )


def static(value: Value) -> bool:
    """Whether a value is known before the model runs."""
    return not isinstance(value, Tensor)


def numbers(value: Value) -> list[Any]:
    """A known value (axes, a shape) as a list of integers."""
    return [v if not isinstance(v, np.generic) else v.item() for v in np.asarray(value).reshape(-1)]


def tensor(value: Value) -> Tensor:
    """A value as a tensor."""
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(np.array(value, dtype=np.int64 if is_object(value) else None))


def operand(value: Value) -> Tensor | float:
    """A value as what torch's arithmetic takes: a known number of floats stays a number."""
    if isinstance(value, Tensor | float):
        return value
    array = np.asarray(value)
    return float(array) if array.ndim == 0 and array.dtype.kind == "f" else tensor(array)


def is_object(value: Value) -> bool:
    """Whether a value is numbers of which some are known only when the model runs."""
    return isinstance(value, np.ndarray) and value.dtype == object
