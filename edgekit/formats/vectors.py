"""Test vectors: inputs that an artifact carries, and what the host's reference computes for them."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from edgekit.core.model import ModelSpec, TensorSpec, end_sizes, example_sizes
from edgekit.errors import ArtifactError, ModelError, ProjectError
from edgekit.models.batches import batch_of, in_batches
from edgekit.models.data import Samples

if TYPE_CHECKING:
    from edgekit.models.program import Program

COUNT = 8
"""Batches in an artifact."""
OLD_MOST = 4.0
"""What vectors written before `most` was measured are taken to have, in their `rounding`."""
LEVELS = 255
"""Steps of an int8 scale."""


class Vectors(NamedTuple):
    """Inputs and the outputs wanted for them.

    `steps`: one LSB of each output, 0 where it is float. `quantized`: as `Program.quantized`: float outputs too move in
    steps. `rounding`: how far each output is moved by summing in float32 instead of float64, or by what the format's
    runtime computes otherwise than the program (`ComputesNear`): RMS, in LSB, or in 255ths of the range where the
    output is float. `most`: how far the value is that is moved most. `rows` are those of each input in one call, where
    the file leaves them free; none is one.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    steps: tuple[float, ...]
    quantized: bool
    rounding: tuple[float, ...]
    most: tuple[float, ...]
    rows: tuple[int, ...] = ()


def make_vectors(
    program: "Program", samples: Samples | None = None, seed: int = 0, near: "Program | None" = None
) -> Vectors:
    """Test vectors of `program`: its reference outputs for `vector_inputs`. `near`: as `ComputesNear` has it.

    Raises: ProjectError if the samples do not fit the model.
    """
    inputs = vector_inputs(program.spec, samples, seed, _example(program))
    return _wanted(program, inputs, batch_of(program.spec), near)


def make_more_vectors(program: "Program", known: Vectors, seed: int = 0) -> tuple[Vectors, ...]:
    """Test vectors at the least and the largest free sizes, of seeded noise; none where no size is free.

    `known` are those of the example's size, which tell better what rounding does than a few values do.

    Raises: ModelError if the program does not run at such a size.
    """
    from edgekit.models.model import first_line

    specs, found = program.spec.inputs, []
    for count, sizes in zip((COUNT, 1), end_sizes(specs), strict=False):
        if sizes == example_sizes(specs):
            continue
        resized = tuple(msgspec.structs.replace(spec, shape=spec.at(sizes)) for spec in specs)
        inputs = _noise(resized, _example(program), seed, count)
        try:
            made = _wanted(program, inputs, tuple(spec.shape[0] for spec in resized))
        except (RuntimeError, IndexError) as error:
            where = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ModelError(
                f"model {program.spec.name} does not run on seeded noise at {where}: {first_line(error)}: mend the "
                "bounds of its dynamic sizes"
            ) from error
        rounding, most = (
            tuple(map(max, one, other)) for one, other in ((made.rounding, known.rounding), (made.most, known.most))
        )
        found.append(made._replace(rounding=rounding, most=most))
    return tuple(found)


def _example(program: "Program") -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().cpu().numpy() for tensor in program.exported.example_inputs[0])


def _wanted(
    program: "Program", inputs: tuple[np.ndarray, ...], rows: tuple[int, ...], near: "Program | None" = None
) -> Vectors:
    """What the reference gives for `inputs`, with so many rows of each in a call."""
    from edgekit.compress.reference import output_steps, reference_outputs

    outputs = reference_outputs(program, inputs, rows)
    steps = tuple(step or 0.0 for step in output_steps(program))
    others = [_outputs_in_float32(program, inputs, rows), *([reference_outputs(near, inputs, rows)] if near else [])]
    moved = [
        [np.abs(other[i] - exact) / unit(exact, step) for other in others]
        for i, (exact, step) in enumerate(zip(outputs, steps, strict=True))
    ]
    rounding = tuple(max(map(rms, moves)) for moves in moved)
    most = tuple(max(float(move.max(initial=0.0)) for move in moves) for moves in moved)
    free, quantized = any(spec.free for spec in program.spec.inputs), program.quantized or near is not None
    return Vectors(inputs, outputs, steps, quantized, rounding, most, rows if free else ())


def unit(wanted: np.ndarray, step: float) -> float:
    """What an output's errors are counted in: its LSB, or the 255th part of its largest value where it is float."""
    known = wanted[np.isfinite(wanted)]
    return step or max(float(np.abs(known).max(initial=0.0)), 1e-12) / LEVELS


def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far the values are apart; what is masked with minus infinity on both sides is equal.

    >>> distance(np.array([-np.inf, 1.0]), np.array([-np.inf, 3.0])).tolist()
    [0.0, 2.0]
    """
    with np.errstate(invalid="ignore"):
        return np.where(one == other, 0.0, np.abs(np.asarray(one, np.float64) - other))


def rms(values: np.ndarray) -> float:
    """The root mean square; 0 of nothing.

    >>> rms(np.array([3.0, -3.0]))
    3.0
    """
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2))) if values.size else 0.0


def _outputs_in_float32(
    program: "Program", inputs: tuple[np.ndarray, ...], rows: tuple[int, ...]
) -> tuple[np.ndarray, ...]:
    import torch

    module = program.exported.module(check_guards=False)

    def call(batch: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        with torch.no_grad():
            result = module(*map(torch.from_numpy, batch))
        return [t.numpy() for t in ((result,) if isinstance(result, torch.Tensor) else result)]

    return in_batches(call, inputs, rows)


def vector_inputs(
    spec: ModelSpec, samples: Samples | None = None, seed: int = 0, example: tuple[np.ndarray, ...] = ()
) -> tuple[np.ndarray, ...]:
    """Whole batches: of the samples that the user named for it, or of seeded noise. Never calibration data.

    Noise has the mean and the spread of `example`, and nothing else of any sample.

    Raises: ProjectError if the samples do not fit the model.
    """
    if samples is None:
        return _noise(spec.inputs, example, seed, COUNT)
    wanted = [(tensor.shape[1:], tensor.dtype) for tensor in spec.inputs]
    found = [(array.shape[1:], str(array.dtype)) for array in samples.inputs]
    if found != wanted:
        raise ProjectError(f"data.vectors: want samples of {_shapes(wanted)}, got {_shapes(found)}")
    batch = spec.inputs[0].shape[0]
    if len(samples) < batch:
        raise ProjectError(f"data.vectors: want at least {batch} samples, the model's batch, got {len(samples)}")
    return samples.take(slice(0, min(COUNT, len(samples) // batch) * batch)).inputs


def _noise(
    inputs: Sequence[TensorSpec], example: tuple[np.ndarray, ...], seed: int, count: int
) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(seed)
    like = example or tuple(np.empty(0) for _ in inputs)
    return tuple(synthetic(tensor, array, draw, count) for tensor, array in zip(inputs, like, strict=True))


def synthetic(tensor: TensorSpec, like: np.ndarray, draw: np.random.Generator, count: int = COUNT) -> np.ndarray:
    """`count` batches of noise for an input: normal for floats; integers between the least and the greatest of `like`.

    Of zeros and ones the first in a row is what it is in all rows of `like`: a mask that hides all of a row means
    nothing, and every runtime makes something else of it.

    >>> spec = TensorSpec(name="x", shape=(2, 3))
    >>> synthetic(spec, np.full(6, 5.0), np.random.default_rng(0)).shape
    (16, 3)
    """
    shape = (count * tensor.shape[0], *tensor.shape[1:])
    kind = np.dtype(tensor.dtype)
    if kind.kind == "f":
        spread = float(like.std()) if like.size > 1 else 0.0
        return draw.normal(float(like.mean()) if spread else 0.0, spread or 1.0, shape).astype(kind)
    least, most = (int(like.min()), int(like.max())) if like.size else (0, 1)
    made = draw.integers(least, most, shape, endpoint=True).astype(kind)
    if (least, most) == (0, 1) and like.ndim > 1 and len(shape) > 1 and len(first := np.unique(like[..., 0])) == 1:
        made[..., 0] = first[0]
    return made


def _shapes(inputs: list[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype} {'×'.join(map(str, shape))}" for shape, dtype in inputs)


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Writes an .npz: in_0, …, out_0, …, step_0, … (one LSB; 0 where it is float), rounding_0, …, most_0, …"""
    arrays = {f"in_{i}": a for i, a in enumerate(vectors.inputs)}
    arrays |= {f"out_{i}": a for i, a in enumerate(vectors.outputs)}
    arrays |= {f"step_{i}": np.asarray(step) for i, step in enumerate(vectors.steps)}
    arrays |= {f"rounding_{i}": np.asarray(share) for i, share in enumerate(vectors.rounding)}
    arrays |= {f"most_{i}": np.asarray(most) for i, most in enumerate(vectors.most)}
    if vectors.rows:
        arrays["rows"] = np.asarray(vectors.rows)
    np.savez(path, quantized=np.asarray(vectors.quantized), **arrays)  # type: ignore[arg-type]


def read_vectors(path: Path) -> Vectors:
    """The vectors that `write_vectors` wrote; nothing in the file is ever executed.

    Raises: ArtifactError if it holds none.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise ArtifactError(f"{path.name}: cannot be read as test vectors: {error}") from None
    inputs, outputs, steps, rounding = (_numbered(arrays, stem) for stem in ("in", "out", "step", "rounding"))
    most = _numbered(arrays, "most") or tuple(OLD_MOST * value for value in rounding)
    if not inputs or not len(outputs) == len(steps) == len(rounding) == len(most) > 0:
        raise ArtifactError(f"{path.name}: want in_0, out_0, step_0, rounding_0, got {', '.join(arrays) or 'nothing'}")
    floats = tuple(tuple(float(value) for value in values) for values in (steps, rounding, most))
    rows = tuple(int(size) for size in np.ravel(arrays.get("rows", ())))
    return Vectors(inputs, outputs, floats[0], bool(arrays.get("quantized", True)), floats[1], floats[2], rows)


def _numbered(arrays: dict[str, np.ndarray], stem: str) -> tuple[np.ndarray, ...]:
    """The arrays `stem`_0, `stem`_1, … in order."""
    count = sum(1 for name in arrays if name.startswith(f"{stem}_"))
    return tuple(arrays[name] for i in range(count) if (name := f"{stem}_{i}") in arrays)
