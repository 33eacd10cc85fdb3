"""A model in a device's own format, with the hashes of its files and how it was made."""

from edgekit.core.model import TensorSpec
from edgekit.core.noun import Noun, digest
from edgekit.core.recipe import Recipe

ARTIFACT_SCHEMA = 3


class FileEntry(Noun, frozen=True, kw_only=True):
    """A file of an artifact: its path inside the folder (forward slashes, no `..`), sha256 in hex, size."""

    path: str
    sha256: str
    size_bytes: int


class Provenance(Noun, frozen=True, kw_only=True):
    """How an artifact was made: enough to make it again."""

    recipe: Recipe
    model: str
    """Digest of the float model."""
    data: tuple[tuple[str, str], ...] = ()
    """(role, digest): calibration, training, validation."""
    tools: tuple[tuple[str, str], ...] = ()
    """(package, version)"""


class Artifact(Noun, frozen=True, kw_only=True):
    """A packaged model. Its `id` is the sha256 over its files, so equal content has one id, whatever made it.

    `model_file` is what a runtime loads; `vectors` an .npz of inputs and of the outputs that the host's
    quantized program gives for them (`in_0`, …, `out_0`, …), and `more_vectors` further ones, where sizes of inputs are
    free, at other sizes than the example's; `key` what it was made from, for finding it again.
    `layers` is what the host computes at each layer, for `edgekit check`: kept beside the files, sent to no device.
    """

    schema: int = ARTIFACT_SCHEMA
    id: str
    key: str
    name: str
    format: str
    target: str
    files: tuple[FileEntry, ...]
    model_file: str
    vectors: str | None = None
    more_vectors: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    requires: tuple[tuple[str, str], ...] = ()
    provenance: Provenance | None = None
    layers: FileEntry | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of the file that a runtime loads."""
        return next(f.size_bytes for f in self.files if f.path == self.model_file)


def content_id(files: tuple[FileEntry, ...]) -> str:
    """The id of an artifact with these files: order does not matter."""
    return digest("content", tuple(sorted((f.path, f.sha256, f.size_bytes) for f in files)))
