"""What a model is, seen from outside: its name, its digest, what goes in and what comes out."""

from collections.abc import Mapping, Sequence

from edgekit.core.noun import Noun

BATCHES = 8
"""Rows of a large batch: samples do not know each other, and more of them show nothing new."""


class FreeAxis(Noun, frozen=True, kw_only=True):
    """An axis of an input whose size is free, from `least` to `most`; axes of one `name` have one size in a call."""

    axis: int
    name: str
    least: int = 1
    most: int


class TensorSpec(Noun, frozen=True, kw_only=True):
    """One input or output; a dimension of `shape` is its size, the first one the batch.

    Of a `free` axis the shape has the size of the example, which is what is measured.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    free: tuple[FreeAxis, ...] = ()

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits.

        >>> axes = (FreeAxis(axis=0, name="batch", most=8),)
        >>> spec = TensorSpec(name="x", shape=(1, 3), free=axes)
        >>> spec.takes((8, 3)), spec.takes((9, 3)), spec.takes((1, 4))
        (True, False, False)
        """
        spans = {axis.axis: (axis.least, axis.most) for axis in self.free}
        pairs = enumerate(zip(shape, self.shape, strict=False))
        within = (spans.get(i, (own, own))[0] <= size <= spans.get(i, (own, own))[1] for i, (size, own) in pairs)
        return len(shape) == len(self.shape) and all(within)

    def at(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where the free sizes are those named.

        >>> TensorSpec(name="x", shape=(1, 3), free=(FreeAxis(axis=0, name="batch", most=8),)).at({"batch": 4})
        (4, 3)
        """
        named = {axis.axis: sizes[axis.name] for axis in self.free if axis.name in sizes}
        return tuple(named.get(i, size) for i, size in enumerate(self.shape))


class ModelSpec(Noun, frozen=True, kw_only=True):
    """A captured model: `digest` covers its program and its weights."""

    name: str
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def free(self) -> tuple[tuple[FreeAxis, ...], ...]:
        """The axes of each input whose sizes are free."""
        return tuple(tensor.free for tensor in self.inputs)


def free_sizes(inputs: Sequence[TensorSpec]) -> dict[str, FreeAxis]:
    """The first axis of each free size, by its name.

    >>> sorted(free_sizes([TensorSpec(name="x", shape=(1, 3))]))
    []
    """
    found: dict[str, FreeAxis] = {}
    for tensor in inputs:
        for axis in tensor.free:
            found.setdefault(axis.name, axis)
    return found


def example_sizes(inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """The size that each free axis has in the example, by its name."""
    return {axis.name: tensor.shape[axis.axis] for tensor in inputs for axis in tensor.free}


def end_sizes(inputs: Sequence[TensorSpec]) -> tuple[dict[str, int], ...]:
    """The least sizes and the largest ones, a batch cut to BATCHES; none where nothing is free.

    >>> end_sizes([TensorSpec(name="x", shape=(2, 3), free=(FreeAxis(axis=0, name="batch", most=64),))])
    ({'batch': 1}, {'batch': 8})
    """
    batches = {axis.name for tensor in inputs for axis in tensor.free if axis.axis == 0}
    least, most = {}, {}
    for name, axis in free_sizes(inputs).items():
        least[name] = axis.least
        most[name] = max(min(axis.most, BATCHES), axis.least) if name in batches else axis.most
    return (least, most) if least else ()


def sizes_words(inputs: Sequence[TensorSpec]) -> str:
    """The free sizes for people: of the example, and from where to where; nothing where none is free.

    >>> sizes_words([TensorSpec(name="x", shape=(2, 3), free=(FreeAxis(axis=0, name="batch", most=8),))])
    'batch 2 (1 to 8)'
    """
    own = example_sizes(inputs)
    return ", ".join(f"{name} {own[name]} ({axis.least} to {axis.most})" for name, axis in free_sizes(inputs).items())


def measured_at(inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """What to say of a figure that was measured of a model with these inputs: nothing where no size is free."""
    said = sizes_words(inputs)
    return (f"free sizes were the example's: {said}",) if said else ()
