"""The device's side of a check: what its own runtime gives for an artifact's test vectors, and how long each op takes.

The artifact's file says what its outputs are; a copy that shows its layers, where the format can make one, the rest.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.bench.check import Checked, noted, off, with_rows
from edgekit.bench.session import Bench, Form
from edgekit.core.artifact import Artifact
from edgekit.core.layer import LayerSpec
from edgekit.errors import ArtifactError
from edgekit.formats.base import Tap
from edgekit.formats.child import call_in_child
from edgekit.formats.layers import Layers, as_wanted, kept_layers, rows_of, sampled
from edgekit.formats.vectors import Vectors, rms, unit
from edgekit.formats.verify import band

ADDED = re.compile(r"(_token_\d+|_nchwc)+$")
"""What onnxruntime adds to the name of a node whose layout it changes."""


def probe_file(artifact: Artifact, folder: Path, scratch: Path) -> tuple[Path, tuple[Tap, ...]] | None:
    """A copy in `scratch` of the artifact's file that shows its layers; None where there are none to be shown.

    Raises: ArtifactError.
    """
    if kept_layers(artifact, folder) is None or artifact.layers is None:
        return None
    job = {"format": artifact.format, "path": str(folder / artifact.model_file), "folder": str(scratch)}
    job["layers"] = str(folder / artifact.layers.path)
    found = call_in_child(
        "edgekit.formats.layers:probe", job, what=f"{artifact.name}: {artifact.model_file}", error=ArtifactError
    ).value
    return (Path(found["path"]), msgspec.convert(found["taps"], tuple[Tap, ...])) if found else None


def outputs_on(bench: Bench, form: Form, vectors: Vectors, checked: Checked) -> Checked:
    """`checked` with those outputs of the device that are wrong. Raises: DeviceError, MeasureError."""
    batches = len(vectors.outputs[0]) // form.batch
    specs = [_of_output(i, vectors, form.batch) for i in range(len(vectors.outputs))]
    got = bench.inside(form, [tap_words(s, Tap(layer=s.name, place=i), batches) for i, s in enumerate(specs)])
    wrong = []
    for spec, ours, whole in zip(specs, got, vectors.outputs, strict=True):
        wanted = np.concatenate([sampled(b, spec, batches) for b in whole.reshape(-1, *spec.shape)])
        one = unit(whole, spec.step)
        apart = np.abs(ours.astype(np.float64) - wanted) / one if ours.shape == wanted.shape else np.full(1, np.inf)
        most_rms, most = band(spec.rounding, spec.rounding_most, quantized=vectors.quantized, in_steps=bool(spec.step))
        if not (rms(apart) <= most_rms and apart.max() <= most):
            text = (
                f"up to {apart.max():.3g} LSB off, RMS {rms(apart):.3g}: want at most {most:.3g} and RMS {most_rms:.3g}"
            )
            wrong.append(f"{checked.name}: {spec.name} on {bench.transport.name} is {text}")
    return msgspec.structs.replace(checked, device=bench.transport.name, wrong=(*checked.wrong, *wrong))


def layers_on(bench: Bench, form: Form, taps: Sequence[Tap], layers: Layers, batches: int, checked: Checked) -> Checked:
    """`checked` with what the device has at each layer. Raises: DeviceError, MeasureError."""
    specs = {s.name: s for s in layers.specs}
    got = bench.inside(form, [tap_words(specs[t.layer], t, batches) for t in taps])
    found = {tap.layer: as_wanted(array, specs[tap.layer]) for tap, array in zip(taps, got, strict=True)}
    rows = []
    for row, spec, exact in zip(checked.rows, layers.specs, layers.exact, strict=True):
        ours = found.get(spec.name)
        fits = ours is not None and ours.shape == exact.shape
        there = off(spec, ours, exact, quantized=layers.quantized) if fits and ours is not None else None
        rows.append(msgspec.structs.replace(row, device=there))
    return with_rows(checked, tuple(rows))


def times_on(bench: Bench, form: Form, layers: Layers, checked: Checked) -> Checked:
    """`checked` with the time of each layer that is an op of the compiled graph by itself.

    Raises: DeviceError, MeasureError.
    """
    rows = tuple(msgspec.structs.replace(row, compute_unit="CPU") for row in checked.rows)
    if not bench.shows_ops:
        return noted(
            msgspec.structs.replace(checked, rows=rows), f"{bench.options.runtime} shows no time of single ops"
        )
    ((_, traced),) = bench.trace((form,))
    seconds = {ADDED.sub("", op.name): op.seconds for op in traced}
    timed = (
        msgspec.structs.replace(row, seconds=seconds.get(f"node_{spec.call}", seconds.get(spec.value)))
        for row, spec in zip(rows, layers.specs, strict=True)
    )
    return msgspec.structs.replace(checked, rows=tuple(timed))


def tap_words(spec: LayerSpec, tap: Tap, batches: int) -> dict[str, Any]:
    """A tap in the agent's words."""
    rows = rows_of(spec, batches)
    return {"place": tap.place, "order": tap.order, "shape": spec.shape, "axis": spec.axis, "rows": rows}


def _of_output(index: int, vectors: Vectors, batch: int) -> LayerSpec:
    shape = (batch, *vectors.outputs[index].shape[1:])
    name = f"output {index}"
    return LayerSpec(
        name=name, op="output", module="", call=name, value=name, shape=shape, axis=len(shape) - 1,
        step=vectors.steps[index], rounding=vectors.rounding[index], rounding_most=vectors.most[index],
    )  # fmt: skip
