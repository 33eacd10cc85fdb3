"""What a back end promises: lower a program to one file, and run that file on the host."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from edgekit.core.layer import LayerSpec
from edgekit.core.model import TensorSpec
from edgekit.core.noun import Noun
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, TargetError
from edgekit.formats.names import format_entries, format_names
from edgekit.models.batches import in_batches

__all__ = ["Format", "fixed", "get_format", "in_batches"]

if TYPE_CHECKING:
    from edgekit.models.program import Program


class Format(Protocol):
    """A back end. `name` is the word in `Target.format`, `extra` what installs its packages.

    `proof` says in words what it means that a file was verified here: a file may be run by another than its runtime.
    """

    name: str
    extra: str
    proof: str

    def lower(self, program: "Program", target: Target, folder: Path) -> Path:
        """Writes the program as one file into `folder`, and gives its path.

        Raises: ConvertError naming module, op and reason; MissingExtraError.
        """

    def mixes(
        self, program: "Program", int8_sets: Sequence[frozenset[str]], target: Target, folder: Path
    ) -> tuple[Path, ...]:
        """As `lower`, of the program with only these of its `mixable` layers not float, one file a set.

        Raises: as `lower`.
        """

    def inputs(self, path: Path) -> tuple[TensorSpec, ...]:
        """What a file takes; a free batch counts as 1. Called in a child process, as `run`.

        Raises: ArtifactError if the runtime refuses the file, or another size is free.
        """

    def run(
        self, path: Path, inputs: tuple[np.ndarray, ...], *, threads: int = 1, rows: Sequence[int] = ()
    ) -> tuple[np.ndarray, ...]:
        """The outputs of a file for inputs with the sample first, one for each sample, whatever the file's batch is.

        An input whose first size is another than the first input's has so many rows for each batch of that. Where the
        file leaves the first size of an input free, `rows` of it go in one call, by default one.

        Called in a child process (`edgekit.formats.child.run_model`): a damaged file may end the process it is run in.
        """


@runtime_checkable
class Remarks(Protocol):
    """A back end that has more to say of a file than that it computes the right thing on the host."""

    def remarks(self, path: Path) -> tuple[str, ...]:
        """Sentences for whoever verifies a file: what besides was asked of it, and what was not.

        Raises: ArtifactError.
        """


@runtime_checkable
class ComputesNear(Protocol):
    """A back end whose runtime computes some layers otherwise than a program says, and no worse."""

    def near(self, program: "Program") -> "Program | None":
        """The program as the runtime may compute it: so far from the program a file may be. None if it does as told."""


class Tap(Noun, frozen=True, kw_only=True):
    """Which output of a file is a layer's value; `order` transposes it to torch's layout."""

    layer: str
    place: int
    order: tuple[int, ...] = ()


class Probe(NamedTuple):
    """A copy of a file that shows what is inside as outputs behind its own `outputs`, and which layer is where."""

    path: Path
    outputs: int
    taps: tuple[Tap, ...]


class Inside(NamedTuple):
    """A model's own outputs, and by its name what each layer gives, in torch's layout: batch after batch."""

    outputs: tuple[np.ndarray, ...]
    layers: dict[str, np.ndarray]


@runtime_checkable
class ShowsLayers(Protocol):
    """A back end that can show the values inside a file."""

    def inside(
        self, path: Path, layers: Sequence[LayerSpec], inputs: tuple[np.ndarray, ...], folder: Path,
        *, rows: Sequence[int] = (),
    ) -> Inside:  # fmt: skip
        """What a file gives for whole batches of inputs at those of `layers` that it has; `folder` is for scratch.

        `rows` are as in `Format.run`. Called in a child process. Raises: ArtifactError.
        """


@runtime_checkable
class Probes(Protocol):
    """A back end whose files can be changed so that they show what is inside, on a device too."""

    def probe(self, path: Path, layers: Sequence[LayerSpec], folder: Path) -> Probe:
        """A copy in `folder` of the file at `path` that shows those of `layers` that it has.

        Called in a child process. Raises: ArtifactError.
        """


def opened(probe: Probe, given: Sequence[np.ndarray]) -> Inside:
    """What a probe's outputs say."""
    layers = {t.layer: given[t.place].transpose(t.order) if t.order else given[t.place] for t in probe.taps}
    return Inside(tuple(given[: probe.outputs]), layers)


def fixed(name: str, sizes: Sequence[object], dtype: str, path: Path) -> TensorSpec:
    """An input of a file: a batch that is free (no number, or below 1) is 1.

    Raises: ArtifactError if any other size is free.

    >>> fixed("x", ["N", 3], "float32", Path("m.onnx")).shape
    (1, 3)
    """
    shape = [size if isinstance(size, int) and size > 0 else None for size in sizes]
    if None in shape[1:]:
        raise ArtifactError(f"{path.name}: input {name} has free sizes {list(sizes)}: write the file with fixed ones")
    return TensorSpec(name=name, shape=tuple(size or 1 for size in shape), dtype=dtype)


def get_format(name: str) -> Format:
    """The back end called `name`.

    Raises: TargetError if there is none.
    """
    entry = format_entries().get(name)
    if entry is None:
        raise TargetError(f"no back end for format {name!r}; there are {', '.join(format_names()) or 'none'}")
    return entry.load()
