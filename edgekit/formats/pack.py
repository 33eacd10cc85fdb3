"""A model file with its test vectors and, where edgekit made it, its provenance, as one folder: an artifact."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgekit.core.artifact import Artifact, FileEntry, Provenance, content_id
from edgekit.core.model import TensorSpec
from edgekit.core.noun import digest, from_json, to_json
from edgekit.core.target import Target
from edgekit.errors import ArtifactError
from edgekit.formats.base import ComputesNear, get_format
from edgekit.formats.child import call_in_child
from edgekit.formats.layers import LAYERS, make_layers, write_layers
from edgekit.formats.vectors import Vectors, make_more_vectors, make_vectors, synthetic, write_vectors
from edgekit.models.data import Samples
from edgekit.store.artifacts import DESCRIPTION
from edgekit.store.files import sha256_of

if TYPE_CHECKING:
    from edgekit.models.program import Program

VECTORS = "vectors.npz"


def package(
    program: "Program", target: Target, model_file: Path, *,
    folder: Path, key: str, name: str, provenance: Provenance | None = None,
    samples: Samples | None = None, seed: int = 0,
) -> Artifact:  # fmt: skip
    """Writes an artifact into `folder`: the model file, test vectors of `program`, what it computes at each layer
    for them, artifact.json.

    `samples` are ones that the user named for test vectors; without them the vectors are seeded noise. Equal files have
    one id, whatever `key`, `name` and `provenance` are.

    Raises: ProjectError if the samples do not fit the model.
    """
    back_end, spec = get_format(target.format), program.spec
    near = back_end.near(program) if isinstance(back_end, ComputesNear) else None
    vectors = make_vectors(program, samples, seed, near)
    more = make_more_vectors(program, vectors, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_layers(folder / LAYERS, make_layers(program, vectors.inputs, near))
    return _written(
        folder, model_file, (vectors, *more), target, inputs=spec.inputs, outputs=spec.outputs, key=key, name=name,
        provenance=provenance, layers=_entry(folder, LAYERS),
    )  # fmt: skip


def wrap(model_file: Path, target: Target, folder: Path) -> Artifact:
    """Writes an artifact of a file that edgekit did not make into `folder`, named as the file is.

    Its test vectors are seeded noise and what the file itself gives for it on the host: they say that a device computes
    what the host does, and nothing of how good the model is.

    Raises: ArtifactError: the runtime refuses the file, or an input's size is free; MissingExtraError.
    """
    answer = call_in_child(
        "edgekit.formats.pack:look_into", {"format": target.format, "path": str(model_file)},
        what=f"{model_file.name}: its runtime", error=ArtifactError,
    )  # fmt: skip
    inputs = from_json(answer.value, tuple[TensorSpec, ...], model_file.name)
    given = tuple(answer.arrays[f"in_{i}"] for i in range(len(inputs)))
    made = tuple(answer.arrays[f"out_{i}"] for i in range(len(answer.arrays) - len(inputs)))
    floats = (0.0,) * len(made)
    vectors = Vectors(given, made, floats, quantized=True, rounding=floats, most=floats)
    batch = inputs[0].shape[0]
    outputs = tuple(
        TensorSpec(name=f"out_{i}", shape=(batch, *array.shape[1:]), dtype=str(array.dtype))
        for i, array in enumerate(made)
    )
    key = digest("file", sha256_of(model_file), target.name)
    name = model_file.stem
    return _written(folder, model_file, (vectors,), target, inputs=inputs, outputs=outputs, key=key, name=name)


def extend(artifact: Artifact, folder: Path, files: tuple[Path, ...], model_file: str | None = None) -> Artifact:
    """The artifact in `folder` with more files in it, each by its own name; `model_file` is what a runtime loads then.

    Raises: ArtifactError if two files have one name, or one cannot be read.
    """
    entries = list(artifact.files)
    for file in files:
        if file.name in {entry.path for entry in entries} | {DESCRIPTION}:
            raise ArtifactError(f"{artifact.name}: there is a file {file.name} in it already: rename {file}")
        try:
            shutil.copyfile(file, folder / file.name)
        except OSError as error:
            raise ArtifactError(f"{file}: cannot be read: {error.strerror or error}") from None
        entries.append(_entry(folder, file.name))
    found = msgspec.structs.replace(
        artifact, id=content_id(tuple(entries)), files=tuple(entries), model_file=model_file or artifact.model_file
    )
    (folder / DESCRIPTION).write_bytes(to_json(found))
    return found


def _entry(folder: Path, name: str) -> FileEntry:
    return FileEntry(path=name, sha256=sha256_of(folder / name), size_bytes=(folder / name).stat().st_size)


def look_into(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[Any, dict[str, np.ndarray]]:
    """In the child: what a file takes, seeded noise of that kind, and what the file gives for it."""
    back_end, path, draw = get_format(job["format"]), Path(job["path"]), np.random.default_rng(0)
    takes = back_end.inputs(path)
    given = tuple(synthetic(tensor, np.empty(0), draw) for tensor in takes)
    made = back_end.run(path, given)
    arrays = {f"in_{i}": array for i, array in enumerate(given)} | {f"out_{i}": array for i, array in enumerate(made)}
    return to_json(takes).decode(), arrays


def _written(
    folder: Path, model_file: Path, vectors: Sequence[Vectors], target: Target, *, inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...], key: str, name: str, provenance: Provenance | None = None,
    layers: FileEntry | None = None,
) -> Artifact:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_file, folder / model_file.name)
    names = tuple(VECTORS.replace(".", f"_{i}.") if i else VECTORS for i in range(len(vectors)))
    for vectors_name, some in zip(names, vectors, strict=True):
        write_vectors(folder / vectors_name, some)
    files = tuple(_entry(folder, file) for file in (model_file.name, *names))
    artifact = Artifact(
        id=content_id(files), key=key, name=name, format=target.format, target=target.name, files=files,
        model_file=model_file.name, vectors=VECTORS, more_vectors=names[1:], inputs=inputs, outputs=outputs,
        requires=target.requires, provenance=provenance, layers=layers,
    )  # fmt: skip
    (folder / DESCRIPTION).write_bytes(to_json(artifact))
    return artifact
