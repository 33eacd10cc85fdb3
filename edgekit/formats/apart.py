"""Does every layer of a lowered program compute what the reference computes from the same input?

The bounds. Convolutions, linear layers and what only adds, multiplies, averages or moves integers have one right
answer: at most one value of a thousand may differ, by one LSB (a sum so close to a tie that float32 decides it).
Softmax, GELU, LayerNorm and products of two computed values are approximated differently by every runtime: 2 LSB in one
value of fifty. What a layer makes in float is held to 1e-4 of its largest value.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core.noun import Noun
from edgekit.core.target import Target
from edgekit.formats.base import get_format
from edgekit.formats.child import run_model

if TYPE_CHECKING:
    from edgekit.compress.apart import Part
    from edgekit.models.program import Program

EXACT_SHARE, EXACT_WORST = 0.001, 1.0
NEAR_SHARE, NEAR_WORST = 0.02, 2.0
FLOAT_ERROR = 1e-4


class LayerError(Noun, frozen=True, kw_only=True):
    """A layer of a lowered file against the reference, given the reference's input.

    `worst` is in LSB, `differing` the share of the `values` that are another step; where `in_steps` is False the layer
    makes floats, and `worst` is a share of the largest value. `within`: inside the bounds for its kind.
    """

    name: str
    module: str
    ops: tuple[str, ...]
    exact: bool
    in_steps: bool
    values: int
    worst: float
    differing: float
    within: bool

    def __str__(self) -> str:
        where = f"{self.module or 'the model'} ({' '.join(self.ops)})"
        if not self.in_steps:
            return f"{where}: off by {self.worst:.2g} of its range: want at most {FLOAT_ERROR:g}"
        worst, share = (EXACT_WORST, EXACT_SHARE) if self.exact else (NEAR_WORST, NEAR_SHARE)
        found = f"up to {self.worst:g} LSB in {self.differing:.2%}"
        return f"{where}: {found} of its values: want at most {worst:g} LSB in {share:.1%}"


def layer_errors(
    program: "Program", target: Target, inputs: tuple[np.ndarray, ...], folder: Path
) -> tuple[LayerError, ...]:
    """Every layer of `program` as `target`'s back end compiles it, in order; `inputs` with the sample first.

    Writes one more model file into `folder`.

    Raises: ConvertError, TargetError, ArtifactError, as lowering and running do.
    """
    from edgekit.compress.apart import set_apart
    from edgekit.compress.reference import output_steps, reference_outputs

    apart, values = set_apart(program, inputs)
    path = get_format(target.format).lower(apart.program, target, folder)
    got, wanted = run_model(target.format, path, values), reference_outputs(apart.program, values)
    steps = output_steps(apart.program)
    return tuple(map(_error, apart.parts, got, wanted, steps))


def _error(part: "Part", got: np.ndarray, wanted: np.ndarray, step: float | None) -> LayerError:
    apart = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    apart[~np.isfinite(apart)] = np.inf
    if step is None:
        most = float(np.abs(wanted).max(initial=0.0))
        worst = float(apart.max(initial=0.0)) / (most or 1.0)
        differing, within = float(np.mean(apart > 0)), worst <= FLOAT_ERROR
    else:
        off = np.rint(apart / step)
        worst, differing = float(off.max(initial=0.0)), float(np.mean(off > 0))
        bounds = (EXACT_WORST, EXACT_SHARE) if part.exact else (NEAR_WORST, NEAR_SHARE)
        within = worst <= bounds[0] and differing <= bounds[1]
    return LayerError(
        name=part.name, module=part.module, ops=part.ops, exact=part.exact, in_steps=step is not None,
        values=apart.size, worst=worst, differing=differing, within=within,
    )  # fmt: skip
