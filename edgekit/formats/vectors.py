"""Test vectors: inputs that an artifact carries, and what the host's reference computes for them."""

from pathlib import Path

import numpy as np

from edgekit.core.model import ModelSpec
from edgekit.models.data import Samples

COUNT = 8


def synthetic_inputs(spec: ModelSpec, seed: int = 0, count: int = COUNT) -> tuple[np.ndarray, ...]:
    """`count` batches of seeded noise for each input: normal for floats, small non-negative numbers for integers.

    >>> from edgekit.core.model import TensorSpec
    >>> spec = ModelSpec(name="m", digest="", inputs=(TensorSpec(name="x", shape=(1, 3)),), outputs=())
    >>> synthetic_inputs(spec)[0].shape
    (8, 3)
    """
    draw = np.random.default_rng(seed)
    made = []
    for tensor in spec.inputs:
        shape = (count * tensor.shape[0], *tensor.shape[1:])
        kind = np.dtype(tensor.dtype)
        values = draw.standard_normal(shape) if kind.kind == "f" else draw.integers(0, 2, shape)
        made.append(values.astype(kind))
    return tuple(made)


def vector_inputs(spec: ModelSpec, samples: Samples | None, seed: int = 0) -> tuple[np.ndarray, ...]:
    """The inputs of test vectors: the samples that the user named for it, or noise. Never calibration data."""
    if samples is None:
        return synthetic_inputs(spec, seed)
    count = max(1, min(COUNT, len(samples) // spec.inputs[0].shape[0])) * spec.inputs[0].shape[0]
    return samples.take(slice(0, count)).inputs


def write_vectors(
    path: Path, inputs: tuple[np.ndarray, ...], outputs: tuple[np.ndarray, ...], steps: tuple[float | None, ...]
) -> None:
    """Writes an .npz: in_0, …, out_0, …, and step_0, … (one LSB of that output; 0 where it is float)."""
    arrays = {f"in_{i}": a for i, a in enumerate(inputs)} | {f"out_{i}": a for i, a in enumerate(outputs)}
    arrays |= {f"step_{i}": np.asarray(step or 0.0) for i, step in enumerate(steps)}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_vectors(path: Path) -> dict[str, np.ndarray]:
    """The arrays that `write_vectors` wrote; nothing in the file is ever executed."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def numbered(arrays: dict[str, np.ndarray], stem: str) -> tuple[np.ndarray, ...]:
    """The arrays `stem`_0, `stem`_1, … in order."""
    names = sorted((k for k in arrays if k.startswith(f"{stem}_")), key=lambda k: int(k.rpartition("_")[2]))
    return tuple(arrays[name] for name in names)
