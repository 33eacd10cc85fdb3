"""Does an artifact compute what the host's quantized program computes? Its files are hashed, its test vectors run.

The bound. A file that is lowered rightly differs from the reference only where two ways of rounding one sum part: one
LSB there, carried on and multiplied by the layers behind. How far that moves the outputs is a property of the net, and
measured when vectors are made: `rounding` is the RMS between summing in float32 and in float64. On EfficientNet-Lite0,
50 layers in int8, it was 0.66 and 0.73 LSB, and onnxruntime and XNNPACK were 0.64 to 0.77 off; on nets of a few layers
all of them are 0. What is lowered wrongly (a bias, a scale, a zero point, a layout) is off by several LSB everywhere.
So an error may be twice the net's own rounding and a little more, in RMS and in the value that is off most: that is
measured too, since it is no multiple of the RMS (a detector's outputs were 4 LSB off in RMS, and one of them 44). A
float output behind int8 layers is held to the same, with the 255th part of its range for an LSB; a file with no int8
layer to a thousandth of its range.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.core.model import sizes_words
from edgekit.core.noun import Noun
from edgekit.errors import ArtifactError
from edgekit.formats.base import Remarks, get_format
from edgekit.formats.child import call_in_child
from edgekit.formats.vectors import LEVELS, Vectors, read_vectors, rms, unit
from edgekit.store.artifacts import check_files

RMS_BASE, WORST_BASE, PER_ROUNDING = 0.3, 2.0, 2.0
FLOAT_ERROR = 1e-3
DEADLINE_S = 300.0
SO = "so it is not what the host's program computes: make it again"


class Verdict(Noun, frozen=True, kw_only=True):
    """What the test vectors say of each output.

    `worst` and `rms` are the largest and the root mean square error: in LSB where `in_steps`, else as a share of the
    largest value; `differing` the share of values that differ by more than half an LSB (floats: more than rounding);
    `cosine` the likeness of direction; `vectors` counts samples. `remarks` are what else the back end has to say.
    """

    worst: tuple[float, ...]
    rms: tuple[float, ...]
    differing: tuple[float, ...]
    cosine: tuple[float, ...]
    in_steps: tuple[bool, ...]
    vectors: int
    remarks: tuple[str, ...] = ()


def verify(artifact: Artifact, folder: Path) -> Verdict:
    """The verdict on an artifact whose files are in `folder`, run on the host in a child process.

    Raises: ArtifactError: files missing, changed or unsafe; the runtime refuses or crashes; outputs too far off.
    """
    job = job_of(artifact, folder)
    found = call_in_child(
        "edgekit.formats.verify:compare_all", job,
        what=f"{artifact.name}: verifying {artifact.model_file}", error=ArtifactError, deadline_s=DEADLINE_S,
    ).value  # fmt: skip
    verdicts = []
    for one in found:
        verdict, wrong = judged(f"{artifact.name}{one['where']}", one)
        if wrong:
            raise ArtifactError(f"{wrong[0]}, {SO}")
        verdicts.append(verdict)
    back_end, path = get_format(artifact.format), folder / artifact.model_file
    remarks = back_end.remarks(path) if isinstance(back_end, Remarks) else ()
    return msgspec.structs.replace(worst_of(verdicts), remarks=(*_sizes(artifact), *remarks))


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Verdicts on one file at several sizes, as one: of each output what is worst."""
    lists = {key: [getattr(v, key) for v in verdicts] for key in ("worst", "rms", "differing", "cosine")}
    most = {key: tuple(map(min if key == "cosine" else max, *found, found[0])) for key, found in lists.items()}
    return msgspec.structs.replace(verdicts[0], **most, vectors=sum(v.vectors for v in verdicts))


def _sizes(artifact: Artifact) -> tuple[str, ...]:
    """At which sizes a file was verified, where some are free."""
    said = sizes_words(artifact.inputs)
    return (f"free sizes: {said}; verified at {1 + len(artifact.more_vectors)} of them",) if said else ()


def verify_outputs(what: str, vectors: Vectors, got: Sequence[np.ndarray], *, float_error: float) -> Verdict:
    """The verdict on what a device gave for the first of the test vectors; without int8 it may be `float_error` off.

    Raises: ArtifactError if the outputs are of another number or shape, or too far off.
    """
    wanted = [array[: len(g)] for array, g in zip(vectors.outputs, got, strict=False)]
    found = _compared(what, vectors._replace(outputs=tuple(wanted)), got, len(vectors.outputs))
    if not vectors.quantized:
        found["bounds"] = [(float_error, float_error)] * len(wanted)
    verdict, wrong = judged(what, found)
    if wrong:
        raise ArtifactError(f"{wrong[0]}, {SO}")
    return verdict


def job_of(artifact: Artifact, folder: Path) -> dict[str, Any]:
    """The job that `compare` is given. Raises: ArtifactError: files missing, changed or unsafe, or no test vectors."""
    check_files(artifact, folder)
    if artifact.vectors is None:
        raise ArtifactError(f"{artifact.name}: carries no test vectors, so nothing can be verified")
    return {
        "format": artifact.format, "path": str(folder / artifact.model_file), "vectors": str(folder / artifact.vectors),
        "more_vectors": [str(folder / name) for name in artifact.more_vectors],
    }  # fmt: skip


def judged(name: str, found: dict[str, Any]) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict on what `compare` found, and a line for each output that is too far off."""
    columns = {
        key: tuple(e[key] for e in found["errors"]) for key in ("worst", "rms", "differing", "cosine", "in_steps")
    }
    pairs = enumerate(zip(found["errors"], found["bounds"], strict=True))
    lines = (_beyond(f"{name}: output {i}", error, bound) for i, (error, bound) in pairs)
    return Verdict(**columns, vectors=found["vectors"]), tuple(line for line in lines if line)


def compare_all(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: what `compare` finds with each of the files of vectors, and `where` in words.

    Raises: as `compare`.
    """
    found = [compare(job, {})[0] | {"where": ""}]
    for more in job["more_vectors"]:
        shapes = "×".join(map(str, read_vectors(Path(more)).inputs[0].shape))
        found.append(compare(job | {"vectors": more}, {})[0] | {"where": f", {shapes} in"})
    return found, {}


def compare(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: the errors of a file against its vectors, and the bounds that they must keep.

    Raises: ArtifactError if the outputs are of another number or shape.
    """
    vectors = read_vectors(Path(job["vectors"]))
    got = get_format(job["format"]).run(Path(job["path"]), vectors.inputs, rows=vectors.rows)
    return _compared(Path(job["path"]).name, vectors, got, len(vectors.outputs)), {}


def _compared(what: str, vectors: Vectors, got: Sequence[np.ndarray], outputs: int) -> dict[str, Any]:
    shapes, wanted = [a.shape for a in got], [a.shape for a in vectors.outputs]
    if shapes != wanted or len(shapes) != outputs:
        raise ArtifactError(f"{what} gives outputs of shapes {shapes}, its test vectors {wanted}")
    errors = [_errors(g, w, s) for g, w, s in zip(got, vectors.outputs, vectors.steps, strict=True)]
    return {"errors": errors, "bounds": _bounds(vectors), "vectors": len(vectors.outputs[0])}


def _bounds(vectors: Vectors) -> list[tuple[float, float]]:
    """(largest RMS, largest error) of each output, in the units of `_errors`."""
    found = []
    for step, rounding, most in zip(vectors.steps, vectors.rounding, vectors.most, strict=True):
        bound = band(rounding, most, quantized=vectors.quantized, in_steps=bool(step))
        found.append(bound if step else (bound[0] / LEVELS, bound[1] / LEVELS))
    return found


def band(rounding: float, most: float, *, quantized: bool, in_steps: bool) -> tuple[float, float]:
    """(RMS, largest error) that a value may be off by, in LSB, or where it is float in 255ths of its largest value.

    `rounding` is its own RMS, `most` its own largest move.
    """
    if quantized or in_steps:
        return RMS_BASE + PER_ROUNDING * rounding, WORST_BASE + PER_ROUNDING * most
    return FLOAT_ERROR * LEVELS, FLOAT_ERROR * LEVELS


def _errors(got: np.ndarray, wanted: np.ndarray, step: float) -> dict[str, Any]:
    g, w = got.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    error = np.abs(g - w) / (unit(w, step) * (1 if step else LEVELS))
    error[~np.isfinite(error)] = np.inf
    length = float(np.linalg.norm(g) * np.linalg.norm(w))
    return {
        "worst": float(error.max(initial=0.0)),
        "rms": rms(error),
        "differing": float(np.mean(error > (0.5 if step else 1e-6))) if error.size else 0.0,
        "cosine": float(g @ w / length) if length and np.isfinite(length) else float(np.array_equal(g, w)),
        "in_steps": bool(step),
    }


def _beyond(where: str, error: dict[str, Any], bound: tuple[float, float]) -> str | None:
    """What is wrong where `error` is beyond (RMS, largest); None if it is within."""
    if error["rms"] <= bound[0] and error["worst"] <= bound[1]:
        return None
    most_rms, most = bound
    if error["in_steps"]:
        text = f"{error['worst']:.3g} steps off, RMS {error['rms']:.3g}: want at most {most:.3g} and RMS {most_rms:.3g}"
    else:
        text = f"off by {error['worst']:.2%} of its range, RMS {error['rms']:.2%}: want {most:.2%}, RMS {most_rms:.2%}"
    return f"{where} is up to {text}"
