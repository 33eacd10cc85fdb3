"""What the host computes at each layer for an artifact's test vectors: kept beside the artifact, sent to no device.

Of a layer that gives many values, some are kept: all of its units, at places spread evenly over the rest, the same
places whoever computes the layer.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.core.layer import LayerSpec
from edgekit.core.noun import from_json, to_builtins, to_json
from edgekit.core.recipe import IN_FLOAT
from edgekit.errors import ArtifactError, UsageError
from edgekit.formats.base import Probes, ShowsLayers, get_format
from edgekit.formats.vectors import distance, read_vectors, rms, unit
from edgekit.formats.verify import compare
from edgekit.store.files import sha256_of
from edgekit.store.scratch import scratch

if TYPE_CHECKING:
    from edgekit.models.program import Program

LAYERS = "layers.npz"
MOST = 1 << 14
"""Values of a layer that are kept, unless it has more units than that."""


class Layers(NamedTuple):
    """The layers of a program, and of each (places, units): the float model's values, and the reference's.

    The reference's are integers where a layer is quantized. `quantized`: as in test vectors.
    """

    specs: tuple[LayerSpec, ...]
    floats: tuple[np.ndarray, ...]
    exact: tuple[np.ndarray, ...]
    quantized: bool


def make_layers(program: "Program", inputs: tuple[np.ndarray, ...], near: "Program | None" = None) -> Layers:
    """What `program` computes at each of its layers for whole batches of `inputs`. `near`: as `ComputesNear` has it."""
    from edgekit.compress.watched import layer_values, watched

    specs = tuple(row.layer for row in watched(program))
    batches = len(inputs[0]) // program.spec.inputs[0].shape[0]
    seen = [
        {s.name: tuple(sampled(a, s, batches) for a in values[s.name]) for s in specs}
        for values in layer_values(program, inputs, near)
    ]
    found, floats, exacts = [], [], []
    for spec in specs:
        plain, exact, *others = (np.concatenate([values[spec.name][i] for values in seen]) for i in range(4))
        apart = np.max([distance(other, exact) for other in others], axis=0)
        found.append(_with_rounding(spec, apart / (1.0 if spec.step else unit(exact, 0.0))))
        floats.append(plain)
        exacts.append(exact.astype(np.int16) if spec.step else exact)
    return Layers(tuple(found), tuple(floats), tuple(exacts), program.quantized or near is not None)


def _with_rounding(spec: LayerSpec, error: np.ndarray) -> LayerSpec:
    return msgspec.structs.replace(
        spec, rounding=rms(error), rounding_unit=max(by_unit(error), default=0.0),
        rounding_most=float(error.max(initial=0.0)),
    )  # fmt: skip


def by_unit(error: np.ndarray) -> list[float]:
    """The root mean square of each unit of (places, units)."""
    return [float(x) for x in np.sqrt(np.mean(error.astype(np.float64) ** 2, axis=0))]


def observe(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: what `compare` finds, and what a file has inside at the places that are kept of each layer.

    The latter is "seen_0", … by layer. `changed` is how far the outputs of the form that shows it are from the file's
    own, in LSB; None where no layers are named, or the format shows none.
    """
    found, _ = compare(job, {})
    back_end, path = get_format(job["format"]), Path(job["path"])
    if job["layers"] is None or not isinstance(back_end, ShowsLayers):
        return {"compare": found, "changed": None}, {}
    vectors, specs = read_vectors(Path(job["vectors"])), read_layers(Path(job["layers"])).specs
    with scratch() as folder:
        shown = back_end.inside(path, specs, vectors.inputs, folder, rows=vectors.rows)
    own = back_end.run(path, vectors.inputs, rows=vectors.rows)
    pairs = zip(own, shown.outputs, vectors.steps, strict=True)
    changed = max(float(np.abs(bare - got).max(initial=0.0)) / unit(bare, step) for bare, got, step in pairs)
    return {"compare": found, "changed": changed}, seen(specs, shown.layers)


def seen(specs: Sequence[LayerSpec], values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ "seen_0", … : what is kept of each layer's `values`; none of a layer that is not there, or of another kind.

    Integers are those of the program: a format that labels int8 as uint8 has 128 more.
    """
    found = {}
    for i, spec in enumerate(specs):
        value, size = values.get(spec.name), math.prod(spec.shape)
        if value is None or not value.size or value.size % size:
            continue
        batches = value.reshape(-1, *spec.shape)
        if (kept := as_wanted(np.concatenate([sampled(b, spec, len(batches)) for b in batches]), spec)) is not None:
            found[f"seen_{i}"] = kept
    return found


def probe(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: the copy of a file that shows its layers, in the job's `folder`; None where the format has none."""
    back_end = get_format(job["format"])
    if not isinstance(back_end, Probes):
        return None, {}
    made = back_end.probe(Path(job["path"]), read_layers(Path(job["layers"])).specs, Path(job["folder"]))
    return {"path": str(made.path), "taps": to_builtins(made.taps)}, {}


def as_wanted(value: np.ndarray, spec: LayerSpec) -> np.ndarray | None:
    """`value` as integers of the program where the layer is quantized, else as floats; None if it is not that."""
    if value.dtype.kind == "f":
        return np.rint(value / np.float32(spec.step)) + spec.zero if spec.step else value
    if not spec.step or value.dtype.kind not in "iu" or value.dtype.itemsize > 2:
        return None
    return value.astype(np.int16) - (128 if value.dtype == np.uint8 else 0)


def sampled(array: np.ndarray, layer: LayerSpec, batches: int) -> np.ndarray:
    """(places, units) of one batch of a layer's values, of which `batches` are kept.

    >>> spec = LayerSpec(name="a", op="conv2d", value="a", module="a", call="a", shape=(1, 2, 1, 3), axis=1)
    >>> sampled(np.arange(6).reshape(1, 2, 1, 3), spec, batches=1).tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    flat = np.moveaxis(array, layer.axis, -1).reshape(-1, array.shape[layer.axis])
    return flat[rows_of(layer, batches)]


def rows_of(layer: LayerSpec, batches: int) -> list[int]:
    """Which of the places of a batch are kept, of `batches` batches."""
    units = layer.shape[layer.axis]
    places, most = math.prod(layer.shape) // max(units, 1), max(MOST // max(batches * units, 1), 1)
    return [int(x) for x in np.linspace(0, places - 1, min(most, places)).round()]


def write_layers(path: Path, layers: Layers) -> None:
    """Writes an .npz: `layers` (JSON), `quantized`, float_0, …, exact_0, …"""
    arrays = {f"float_{i}": a for i, a in enumerate(layers.floats)}
    arrays |= {f"exact_{i}": a for i, a in enumerate(layers.exact)}
    arrays["quantized"] = np.asarray(layers.quantized)
    np.savez_compressed(path, layers=np.frombuffer(to_json(layers.specs), np.uint8), **arrays)  # type: ignore[arg-type]


def kept_layers(artifact: Artifact, folder: Path) -> Layers | None:
    """The layers of an artifact in `folder`; None where it has none. Raises: ArtifactError if they are damaged."""
    if artifact.layers is None or not (path := folder / artifact.layers.path).is_file():
        return None
    if path.is_symlink() or sha256_of(path) != artifact.layers.sha256:
        raise ArtifactError(f"{path}: damaged: make artifact {artifact.id[:12]} again, or remove it")
    return read_layers(path)


def read_layers(path: Path) -> Layers:
    """What `write_layers` wrote; nothing in the file is ever executed.

    Raises: ArtifactError if it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            specs = from_json(archive["layers"].tobytes(), tuple[LayerSpec, ...], path.name)
            quantized = (
                bool(archive["quantized"])
                if "quantized" in archive
                else any(s.step or (s.precision or "fp32") not in IN_FLOAT for s in specs)
            )
            floats, exact = (tuple(archive[f"{s}_{i}"] for i in range(len(specs))) for s in ("float", "exact"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, MemoryError, UsageError) as error:
        raise ArtifactError(f"{path}: cannot be read as layer values ({error}): make the artifact again") from None
    return Layers(specs, floats, exact, quantized)
