"""A model file with its test vectors and its provenance, as one folder: an artifact."""

import shutil
from pathlib import Path

from edgekit.core.artifact import Artifact, FileEntry, Provenance, content_id
from edgekit.core.noun import to_json
from edgekit.core.target import Target
from edgekit.formats.vectors import make_vectors, write_vectors
from edgekit.models.data import Samples
from edgekit.models.program import Program
from edgekit.store.artifacts import DESCRIPTION
from edgekit.store.files import sha256_of

VECTORS = "vectors.npz"


def package(
    program: Program, target: Target, model_file: Path, *,
    folder: Path, key: str, name: str, provenance: Provenance | None = None,
    samples: Samples | None = None, seed: int = 0,
) -> Artifact:  # fmt: skip
    """Writes an artifact into `folder`: the model file, test vectors of `program`, artifact.json.

    `samples` are ones that the user named for test vectors; without them the vectors are seeded noise. Equal files have
    one id, whatever `key`, `name` and `provenance` are.

    Raises: ProjectError if the samples do not fit the model.
    """
    vectors = make_vectors(program, samples, seed)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model_file, folder / model_file.name)
    write_vectors(folder / VECTORS, vectors)
    files = tuple(
        FileEntry(path=n, sha256=sha256_of(folder / n), size_bytes=(folder / n).stat().st_size)
        for n in (model_file.name, VECTORS)
    )
    artifact = Artifact(
        id=content_id(files), key=key, name=name, format=target.format, target=target.name, files=files,
        model_file=model_file.name, vectors=VECTORS, inputs=program.spec.inputs, outputs=program.spec.outputs,
        requires=target.requires, provenance=provenance,
    )  # fmt: skip
    (folder / DESCRIPTION).write_bytes(to_json(artifact))
    return artifact
