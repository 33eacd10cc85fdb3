"""The layer table: host float, host quantized, the format's own values, a device's; and which layer goes wrong first.

Errors pile up: a net's last layers differ by one LSB in a quarter of their values merely because one sums in float32
and one in float64. How far that moves each layer was measured when the artifact was made (`LayerSpec.rounding`), and a
layer is wrong where it is off by more than the band that verify allows for that, as a whole or in one unit. What lies
behind a wrong layer is wrong too, so the first one is named.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.core.layer import LayerSpec
from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision
from edgekit.errors import ArtifactError
from edgekit.formats.base import Remarks, get_format
from edgekit.formats.child import call_in_child
from edgekit.formats.layers import Layers, by_unit, kept_layers
from edgekit.formats.vectors import distance, rms, unit
from edgekit.formats.verify import Verdict, band, job_of, judged

CHANGED = 0.01
"""LSB at the outputs: floats that are only added in another order are far below it."""

MOST_BASE, UNIT_BASE, PER_ROUNDING = 2.0, 0.6, 2.0
"""What the largest error and the worst unit may be, in LSB, beside so many times what rounding does to them."""


class Off(Noun, frozen=True, kw_only=True):
    """How far a layer is from the host's quantized program, in LSB (floats: in 255ths of its largest value).

    `share` of its values differ; `most` and `rms` are the largest and the root mean square error, `unit` the unit with
    the largest root mean square, which is `unit_rms`.
    """

    share: float
    most: float
    rms: float
    unit: int
    unit_rms: float
    wrong: bool


class LayerRow(Noun, frozen=True, kw_only=True):
    """A row of the table. `precision` is the recipe's, None of an op that is no layer of it; `sqnr_db` is that
    of the host's quantized values against the float model's.

    `format` is None where the format does not show the layer, `device` where no device was asked, or it does not.
    """

    layer: str
    op: str
    quantized: bool
    precision: Precision | None = None
    sqnr_db: float | None
    format: Off | None = None
    device: Off | None = None
    seconds: float | None = None
    compute_unit: str | None = None


class Checked(Noun, frozen=True, kw_only=True):
    """What a check found: the rows, the outputs that are wrong in words, and what must be said of the rest.

    `layer` is the first that goes wrong, None if all are right. What it was compared with is the host's own program, or
    for a file that edgekit did not make what the `file` itself gives on this computer.
    """

    artifact: str
    name: str
    target: str
    verdict: Verdict
    rows: tuple[LayerRow, ...] = ()
    layer: str | None = None
    device: str | None = None
    reference: Literal["program", "file"] = "program"
    wrong: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Whether every output and every layer is within its band."""
        return not self.wrong and self.layer is None


def check_on_host(artifact: Artifact, folder: Path) -> Checked:
    """The check of an artifact whose files are in `folder`, by its format's runtime on this computer.

    Raises: ArtifactError: files missing or changed, the runtime refuses or crashes.
    """
    job, layers = job_of(artifact, folder), kept_layers(artifact, folder)
    job["layers"] = str(folder / artifact.layers.path) if layers and artifact.layers else None
    answer = call_in_child(
        "edgekit.formats.layers:observe", job, what=f"{artifact.name}: {artifact.model_file}", error=ArtifactError
    )
    verdict, wrong = judged(artifact.name, answer.value["compare"])
    found = Checked(artifact=artifact.id, name=artifact.name, target=artifact.target, verdict=verdict, wrong=wrong)
    back_end = get_format(artifact.format)
    for remark in back_end.remarks(folder / artifact.model_file) if isinstance(back_end, Remarks) else ():
        found = noted(found, remark)
    changed = answer.value["changed"]
    if layers is None:
        return noted(found, "no layer table: the artifact has no layer values (`edgekit convert` keeps them)")
    if changed is None:
        return noted(found, f"no layer values from format {artifact.format}")
    rows = layer_rows(layers, [answer.arrays.get(f"seen_{i}") for i in range(len(layers.specs))])
    found = with_rows(found, rows)
    if changed > CHANGED:
        text = f"with its layers shown, the runtime gives outputs {changed:.2g} LSB off those without"
        found = noted(found, f"{text}: it optimizes that form otherwise")
    return found


def with_rows(checked: Checked, rows: tuple[LayerRow, ...]) -> Checked:
    """`checked` with these rows, and the first of them that is wrong."""
    first = first_wrong(rows)
    return msgspec.structs.replace(checked, rows=rows, layer=first.layer if first else None)


def noted(checked: Checked, text: str) -> Checked:
    """`checked` with one more note."""
    return msgspec.structs.replace(checked, notes=(*checked.notes, text))


def layer_rows(layers: Layers, in_format: Sequence[np.ndarray | None]) -> tuple[LayerRow, ...]:
    """The table's rows, from what was kept of each layer."""
    return tuple(
        LayerRow(
            layer=spec.name,
            op=spec.op,
            quantized=bool(spec.step),
            precision=spec.precision,
            sqnr_db=sqnr_db(floats, (exact - float(spec.zero)) * spec.step if spec.step else exact),
            format=None if ours is None else off(spec, ours, exact, quantized=layers.quantized),
        )
        for spec, floats, exact, ours in zip(layers.specs, layers.floats, layers.exact, in_format, strict=True)
    )


def first_wrong(rows: Sequence[LayerRow]) -> LayerRow | None:
    """The first row, in order of execution, that is wrong in the format or on the device."""
    return next((row for row in rows if any(o is not None and o.wrong for o in (row.format, row.device))), None)


def off(spec: LayerSpec, got: np.ndarray, exact: np.ndarray, *, quantized: bool) -> Off:
    """How far `got` is from `exact`, both (places, units)."""
    one = 1.0 if spec.step else unit(exact, 0.0)
    error = distance(got, exact) / one
    error[~np.isfinite(error)] = np.inf
    units = by_unit(error)
    worst = units.index(max(units))
    found = Off(
        share=float(np.mean(error > (0.5 if spec.step else 1e-3))), most=float(error.max(initial=0.0)), rms=rms(error),
        unit=worst, unit_rms=units[worst], wrong=False,
    )  # fmt: skip
    return msgspec.structs.replace(found, wrong=_is_wrong(found, spec, quantized=quantized))


def _is_wrong(found: Off, spec: LayerSpec, *, quantized: bool) -> bool:
    rms_bound, _ = band(spec.rounding, spec.rounding_most, quantized=quantized, in_steps=bool(spec.step))
    if not quantized:
        return found.rms > rms_bound or found.most > rms_bound
    return (
        found.rms > rms_bound
        or found.most > MOST_BASE + PER_ROUNDING * spec.rounding_most
        or found.unit_rms > UNIT_BASE + PER_ROUNDING * spec.rounding_unit
    )


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float | None:
    """The signal-to-noise ratio of `got` against `wanted`; None where they are equal, or all is 0.

    >>> sqnr_db(np.array([10.0]), np.array([11.0]))
    20.0
    """
    signal, noise = float(np.sum(wanted.astype(np.float64) ** 2)), float(np.sum((wanted - got.astype(np.float64)) ** 2))
    return 10 * float(np.log10(signal / noise)) if signal > 0 and noise > 0 else None
