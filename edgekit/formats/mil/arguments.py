"""How the ops of an ML program read their arguments: tensors, numbers, lists of them, flags, words."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor

Value: TypeAlias = "Tensor | str | tuple[str, ...]"
Arguments: TypeAlias = Mapping[str, Any]
"""By the argument's name: a value, or a tuple of them."""
Kernel: TypeAlias = Callable[[Arguments], Any]


def ints(value: Any) -> list[int]:
    """A tensor of whole numbers as a list.

    >>> ints(Tensor([[1, 2]])), ints(Tensor([3]))
    ([1, 2], [3])
    """
    return [int(v) for v in value.reshape(-1).tolist()]


def int_or(args: Arguments, name: str, default: int) -> int:
    """An optional whole number."""
    return int(args[name]) if name in args else default


def ints_or(args: Arguments, name: str, default: list[int]) -> list[int]:
    """An optional list of whole numbers."""
    return ints(args[name]) if name in args else default


def number_or(args: Arguments, name: str, default: float) -> float:
    """An optional number."""
    return float(args[name]) if name in args else default


def flag(args: Arguments, name: str) -> bool:
    """An optional truth, false by default."""
    return bool(args[name]) if name in args else False


def flags(args: Arguments, name: str, rank: int) -> list[bool]:
    """An optional truth for each axis, false by default."""
    return [bool(v) for v in ints(args[name])] if name in args else [False] * rank


def many(value: Any) -> tuple[Tensor, ...]:
    """The tensors of an argument that takes several."""
    return value if isinstance(value, tuple) else (value,)


def along(value: Tensor, axis: int, rank: int) -> Tensor:
    """A vector, shaped to broadcast along `axis`; a single number stays one.

    >>> along(Tensor([1, 2, 3]), 1, 3).shape
    torch.Size([1, 3, 1])
    """
    return (
        value.reshape([-1 if i == axis % rank else 1 for i in range(rank)]) if value.numel() > 1 else value.reshape(())
    )
