"""What a model is, seen from outside: its name, its digest, what goes in and what comes out."""

from edgekit.core.noun import Noun


class TensorSpec(Noun, frozen=True, kw_only=True):
    """One input or output; a dimension of `shape` is its size, the first one the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


class ModelSpec(Noun, frozen=True, kw_only=True):
    """A captured model: `digest` covers its program and its weights."""

    name: str
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
