"""Samples: the arrays of one split, with labels where there are any."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.model import TensorSpec
from edgekit.errors import ProjectError
from edgekit.models.source import call, load_function, split_source


@dataclass(frozen=True)
class Samples:
    """Inputs, sample first, and one label a sample (None: no labels). Only its digest is ever kept."""

    inputs: tuple[np.ndarray, ...]
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])

    @cached_property
    def digest(self) -> str:
        """Digest of every value, shape and type."""
        seen = hashlib.sha256()
        for array in (*self.inputs, *(() if self.labels is None else (self.labels,))):
            seen.update(f"{array.dtype.str}{array.shape}".encode())
            seen.update(np.ascontiguousarray(array).view(np.uint8).data)
        return seen.hexdigest()

    def batches(self, size: int) -> Iterator["Samples"]:
        """Parts of `size` samples in order; the last one may be smaller."""
        for start in range(0, len(self), size):
            yield self.take(slice(start, start + size))

    def take(self, which: Any) -> "Samples":
        """The samples that an index, slice or array of indices picks."""
        labels = None if self.labels is None else self.labels[which]
        return Samples(tuple(a[which] for a in self.inputs), labels)


def fit(inputs: Sequence[TensorSpec], samples: Samples) -> bool:
    """Whether a model takes samples of this shape, however many at a time."""
    pairs = zip(inputs, samples.inputs, strict=False)
    return len(inputs) == len(samples.inputs) and all(
        spec.takes((*spec.shape[:1], *array.shape[1:])) for spec, array in pairs
    )


def load_samples(where: str, role: str, root: Path, rank: int | None = None) -> Samples:
    """The samples of `role`: from "file.py:function" or an `.npz` (keys in_0, …, and label), relative to `root`.

    A function may give whatever `as_samples` takes.

    Raises: ProjectError: missing, empty, of unequal lengths, or with NaN.
    """
    if split_source(where) is None:
        return check_samples(_from_npz(where, role, root), role, where)
    return take_samples(call(load_function(where, root, f"data.{role}"), f"data.{role}"), role, where, rank)


def take_samples(value: Any, role: str, where: str, rank: int | None = None) -> Samples:
    """As `as_samples`, if they can be used.

    Raises: ProjectError: empty, of unequal lengths, with NaN, or reading them fails.
    """
    return check_samples(call(as_samples, f"data.{role}", value, role, where, rank), role, where)


def check_samples(samples: Samples, role: str, where: str) -> Samples:
    """`samples`, if they can be used.

    Raises: ProjectError.
    """
    if not samples.inputs or samples.inputs[0].ndim == 0 or len(samples) == 0:
        raise ProjectError(f"data.{role}: {where} is empty: want at least one sample")
    lengths = {len(a) for a in samples.inputs} | ({len(samples.labels)} if samples.labels is not None else set())
    if len(lengths) > 1:
        raise ProjectError(f"data.{role}: {where}: inputs and labels differ in length: {sorted(lengths)}")
    for i, array in enumerate(samples.inputs):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ProjectError(f"data.{role}: {where}: input {i} has NaN or infinite values")
    return samples


def as_samples(value: Any, role: str, where: str, rank: int | None = None) -> Samples:
    """`value` (array, tensor, (inputs, labels), Samples, an iterable of batches, or a data set of samples) as Samples.

    `rank` is the number of dimensions of the model's first input, batch included: it tells a batch from one sample.

    Raises: ProjectError.
    """
    if isinstance(value, Samples):
        return value
    if _is_array(value):
        return Samples((_array(value),))
    if isinstance(value, tuple) and len(value) == 2 and all(map(_is_array, value)):
        return Samples((_array(value[0]),), _array(value[1]))
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], tuple) and _is_array(value[1]):
        return Samples(tuple(_array(v) for v in value[0]), _array(value[1]))
    if isinstance(value, str | bytes | dict) or not (hasattr(value, "__iter__") or _is_data_set(value)):
        raise ProjectError(
            f"data.{role}: {where}: want an array, (inputs, labels), or batches of them, got {type(value).__name__}"
        )
    items = (value[i] for i in range(len(value))) if _is_data_set(value) else value
    parts = [as_samples(_batch(item, rank), role, where) for item in items]
    if not parts:
        raise ProjectError(f"data.{role}: {where} is empty: want at least one sample")
    labelled = all(p.labels is not None for p in parts)
    inputs = tuple(np.concatenate(arrays) for arrays in zip(*(p.inputs for p in parts), strict=True))
    return Samples(inputs, np.concatenate([p.labels for p in parts if p.labels is not None]) if labelled else None)


def _is_data_set(value: Any) -> bool:
    """Whether `value` is read by index up to its length, as torch's data sets are (iterating one may never end)."""
    return hasattr(value, "__getitem__") and hasattr(value, "__len__") and not isinstance(value, list | tuple)


def _batch(item: Any, rank: int | None) -> Any:
    """What an iterable gave, as a batch: one sample (inputs of one dimension less, a label) becomes a batch of one."""
    item = tuple(item) if isinstance(item, list) else item
    inputs = item[0] if isinstance(item, tuple) and item else item
    first = inputs[0] if isinstance(inputs, tuple) and inputs else inputs
    if rank is None or not _is_array(first) or first.ndim != rank - 1:
        return item
    one = tuple(_array(v)[None] for v in inputs) if isinstance(inputs, tuple) else _array(inputs)[None]
    return (one, *(_array(label)[None] for label in item[1:])) if isinstance(item, tuple) else one


def _from_npz(where: str, role: str, root: Path) -> Samples:
    path = root / where
    if path.suffix != ".npz":
        raise ProjectError(f'data.{role}: want "file.py:function" or an .npz, got {where!r}')
    if not path.is_file():
        raise ProjectError(f"data.{role}: {path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError) as error:
        raise ProjectError(f"data.{role}: {path} is not a readable .npz: {error}") from None
    names = sorted((k for k in arrays if k.startswith("in_")), key=lambda k: int(k[3:]))
    if not names:
        raise ProjectError(f"data.{role}: {path} has no key in_0; it has {', '.join(arrays) or 'none'}")
    return Samples(tuple(arrays[k] for k in names), arrays.get("label"))


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or hasattr(value, "detach")


def _array(value: Any) -> np.ndarray:
    array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array
