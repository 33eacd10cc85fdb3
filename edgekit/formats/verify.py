"""Does an artifact compute what the host's quantized program computes? Its files are hashed, its test vectors run.

The bound. A file that is lowered rightly differs from the reference only where two ways of rounding one sum part: one
LSB there, carried on by the layers behind. In deep nets float32 against float64 accumulation of one graph already moves
11 to 28 % of outputs by one LSB, and real runtimes up to 35 %, some by two: an RMS of at most 0.6 LSB. What is lowered
wrongly (a bias, a scale, a zero point, a layout) is off by many LSB in most outputs. So errors are counted in LSB of
the output's scale, and must stay within an RMS of one and a maximum of four. A float output behind int8 layers is held
to the same, with the 255th part of its range for an LSB; a file with no int8 layer to a thousandth of the range.
"""

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.core.noun import Noun
from edgekit.errors import ArtifactError
from edgekit.formats.base import get_format
from edgekit.formats.child import call_in_child
from edgekit.formats.vectors import Vectors, read_vectors
from edgekit.store.artifacts import check_files

MOST_RMS = 1.0
MOST_STEPS = 4.0
FLOAT_ERROR = 1e-3
LEVELS = 255
DEADLINE_S = 300.0


class Verdict(Noun, frozen=True, kw_only=True):
    """What the test vectors say of each output.

    `worst` and `rms` are the largest and the root mean square error: in LSB where `in_steps`, else as a share of the
    largest value; `differing` the share of values that differ by more than half an LSB (floats: more than rounding);
    `cosine` the likeness of direction; `vectors` counts samples.
    """

    worst: tuple[float, ...]
    rms: tuple[float, ...]
    differing: tuple[float, ...]
    cosine: tuple[float, ...]
    in_steps: tuple[bool, ...]
    vectors: int


def verify(artifact: Artifact, folder: Path) -> Verdict:
    """The verdict on an artifact whose files are in `folder`, run on the host in a child process.

    Raises: ArtifactError: files missing, changed or unsafe; the runtime refuses or crashes; outputs too far off.
    """
    check_files(artifact, folder)
    if artifact.vectors is None:
        raise ArtifactError(f"{artifact.name}: carries no test vectors, so nothing can be verified")
    job = {
        "format": artifact.format, "path": str(folder / artifact.model_file), "vectors": str(folder / artifact.vectors),
    }  # fmt: skip
    found = call_in_child(
        "edgekit.formats.verify:compare", job,
        what=f"{artifact.name}: verifying {artifact.model_file}", error=ArtifactError, deadline_s=DEADLINE_S,
    ).value  # fmt: skip
    for i, (error, bound) in enumerate(zip(found["errors"], found["bounds"], strict=True)):
        _judge(f"{artifact.name}: output {i}", error, bound)
    columns = {
        key: tuple(e[key] for e in found["errors"]) for key in ("worst", "rms", "differing", "cosine", "in_steps")
    }
    return Verdict(**columns, vectors=found["vectors"])


def compare(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: the errors of a file against its vectors, and the bounds that they must keep.

    Raises: ArtifactError if the outputs are of another number or shape.
    """
    vectors = read_vectors(Path(job["vectors"]))
    got = get_format(job["format"]).run(Path(job["path"]), vectors.inputs)
    shapes, wanted = [a.shape for a in got], [a.shape for a in vectors.outputs]
    if shapes != wanted:
        raise ArtifactError(f"{Path(job['path']).name} gives outputs of shapes {shapes}, its test vectors {wanted}")
    errors = [_errors(g, w, s) for g, w, s in zip(got, vectors.outputs, vectors.steps, strict=True)]
    return {"errors": errors, "bounds": _bounds(vectors), "vectors": len(vectors.outputs[0])}, {}


def _bounds(vectors: Vectors) -> list[tuple[float, float]]:
    """(largest RMS, largest error) of each output, in the units of `_errors`."""
    stepped, mixed, exact = (MOST_RMS, MOST_STEPS), (MOST_RMS / LEVELS, MOST_STEPS / LEVELS), (FLOAT_ERROR, FLOAT_ERROR)
    return [stepped if step else mixed if vectors.quantized else exact for step in vectors.steps]


def _errors(got: np.ndarray, wanted: np.ndarray, step: float) -> dict[str, Any]:
    g, w = got.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    unit = step or max(float(np.abs(w).max(initial=0.0)), 1e-12)
    error = np.abs(g - w) / unit
    error[~np.isfinite(error)] = np.inf
    length = float(np.linalg.norm(g) * np.linalg.norm(w))
    return {
        "worst": float(error.max(initial=0.0)),
        "rms": float(np.sqrt(np.mean(error**2))) if error.size else 0.0,
        "differing": float(np.mean(error > (0.5 if step else 1e-6))) if error.size else 0.0,
        "cosine": float(g @ w / length) if length and np.isfinite(length) else float(np.array_equal(g, w)),
        "in_steps": bool(step),
    }


def _judge(where: str, error: dict[str, Any], bound: tuple[float, float]) -> None:
    """Raises: ArtifactError if `error` is beyond (RMS, largest)."""
    if error["rms"] <= bound[0] and error["worst"] <= bound[1]:
        return
    if error["in_steps"]:
        text = f"{error['worst']:.3g} steps off, RMS {error['rms']:.3g}: want at most {bound[1]:g} and RMS {bound[0]:g}"
    else:
        text = (
            f"off by {error['worst']:.2%} of its range, RMS {error['rms']:.2%}: want {bound[1]:.2%}, RMS {bound[0]:.2%}"
        )
    raise ArtifactError(f"{where} is up to {text}, so it is not what the host's program computes: make it again")
