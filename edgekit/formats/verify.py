"""Does an artifact compute what the host's quantized program computes? Its files are hashed, its test vectors run."""

from pathlib import Path

import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.core.noun import Noun
from edgekit.errors import ArtifactError
from edgekit.formats.child import run_model
from edgekit.formats.vectors import numbered, read_vectors
from edgekit.store.artifacts import check_files

MOST_STEPS = 2
"""An int8 output may be this many LSB off: in deep nets one LSB within already parts float32 from float64 sums."""
MOST_SHARE = 0.5
"""The share of int8 outputs that may differ at all: summing order alone moves up to a third of them."""
FLOAT_ERROR = 1e-3
"""The error of a float output, as a share of the largest reference value."""


class Verdict(Noun, frozen=True, kw_only=True):
    """What the test vectors say: for each output its largest error and the share that differs.

    An error is in LSB where `in_steps`, else a share of the range.
    """

    worst: tuple[float, ...]
    differing: tuple[float, ...]
    in_steps: tuple[bool, ...]
    vectors: int


def verify(artifact: Artifact, folder: Path) -> Verdict:
    """The verdict on an artifact whose files are in `folder`, run on the host in a child process.

    Raises: ArtifactError: files missing, changed or unsafe; the runtime refuses or crashes; outputs too far off.
    """
    check_files(artifact, folder)
    if artifact.vectors is None:
        raise ArtifactError(f"{artifact.name}: carries no test vectors, so nothing can be verified")
    arrays = read_vectors(folder / artifact.vectors)
    wanted = numbered(arrays, "out")
    steps = [float(s) for s in numbered(arrays, "step")]
    got = run_model(artifact.format, folder / artifact.model_file, numbered(arrays, "in"))
    found = [_compare(g, w, s) for g, w, s in zip(got, wanted, steps, strict=True)]
    for i, ((worst, share), step) in enumerate(zip(found, steps, strict=True)):
        if step and (worst > MOST_STEPS or share > MOST_SHARE):
            raise ArtifactError(
                f"{artifact.name}: output {i} is up to {worst:.0f} steps off in {share:.1%} of its values: "
                f"want at most {MOST_STEPS} steps in {MOST_SHARE:.0%}"
            )
        if not step and not worst <= FLOAT_ERROR:
            raise ArtifactError(
                f"{artifact.name}: output {i} is off by {worst:.2%} of its range, want {FLOAT_ERROR:.2%}"
            )
    return Verdict(
        worst=tuple(w for w, _ in found), differing=tuple(s for _, s in found),
        in_steps=tuple(bool(s) for s in steps), vectors=len(wanted[0]),
    )  # fmt: skip


def _compare(got: np.ndarray, wanted: np.ndarray, step: float) -> tuple[float, float]:
    """(largest error in steps or as a share of the range, share of values that differ)."""
    if got.shape != wanted.shape:
        raise ArtifactError(f"an output has shape {got.shape}, its test vector {wanted.shape}")
    error = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    if not np.isfinite(error).all():
        return float("inf"), 1.0
    if step:
        steps = np.rint(error / step)
        return float(steps.max()), float(np.mean(steps > 0))
    scale = max(float(np.abs(wanted).max()), 1e-12)
    return float(error.max()) / scale, float(np.mean(error > 1e-6 * scale))
