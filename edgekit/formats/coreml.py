"""Core ML: an ML program in a package, written by coremltools in a child process, run here by edgekit's own evaluator.

A package is one file to edgekit, a plain zip (docs/decisions/0018): a Mac opens it as any zip. For systems before
iOS 15 it is a neural network, a .mlmodel file. Nothing of Apple's is run here; the evaluator (`edgekit.formats.mil`)
computes what the model says. Inputs and outputs stay float.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.core.layer import LayerSpec
from edgekit.core.model import TensorSpec
from edgekit.core.noun import digest
from edgekit.core.target import Target
from edgekit.errors import ArtifactError, TargetError
from edgekit.formats.base import Inside, fixed, in_batches
from edgekit.formats.mil.deployment import DEFAULT, is_network, lacking, level_of, system
from edgekit.formats.mil.mlpackage import NAME, NETWORK, read_package

if TYPE_CHECKING:
    from edgekit.formats.mil.program import MilProgram
    from edgekit.models.program import Program

_DAMAGED = (KeyError, IndexError, ValueError, OverflowError)
"""What a program that is not whole, or names what is not there, raises where it is read."""


class CoreMlFormat:
    """See `edgekit.formats.base.Format`."""

    name = "coreml"
    extra = "coreml"
    proof = "verified by edgekit's own evaluator, not run on a Mac"

    def lower(self, program: "Program", target: Target, folder: Path) -> Path:
        """As `Format.lower`."""
        path = folder / _name(target)
        _convert(program, target, ((program.mixable, path),))
        return path

    def mixes(
        self, program: "Program", int8_sets: Sequence[frozenset[str]], target: Target, folder: Path
    ) -> tuple[Path, ...]:
        """As `Format.mixes`: all in one child."""
        jobs = tuple((mix, folder / digest(sorted(mix))[:16] / _name(target)) for mix in int8_sets)
        _convert(program, target, tuple(dict.fromkeys(jobs)))
        return tuple(path for _, path in jobs)

    def inputs(self, path: Path) -> tuple[TensorSpec, ...]:
        """As `Format.inputs`, by what the program declares."""
        return tuple(fixed(v.name, v.type.shape or (), v.type.numpy, path) for v in read(path).inputs)

    def inside(
        self, path: Path, layers: Sequence[LayerSpec], inputs: tuple[np.ndarray, ...], folder: Path,
        *, rows: Sequence[int] = (),
    ) -> Inside:  # fmt: skip
        """As `ShowsLayers.inside`: the evaluator knows every value in between."""
        from edgekit.formats.mil.inside import RELABELLED, layer_variables

        program = read(path)
        found = layer_variables(program, layers)
        names = [*program.outputs, *(variable.name for variable in found.values())]
        given = _evaluated(path, program, names, inputs, rows)
        shown = zip(found.items(), given[len(program.outputs) :], strict=True)
        values = {name: array - np.int32(RELABELLED.get(v.type.dtype, 0)) for (name, v), array in shown}
        return Inside(given[: len(program.outputs)], values)

    def remarks(self, path: Path) -> tuple[str, ...]:
        """As `edgekit.formats.base.Remarks`: how its weights are written, where not in float32 or half."""
        from edgekit.formats.mil.forms import words_of

        return words_of(read(path))

    def run(
        self, path: Path, inputs: tuple[np.ndarray, ...], *, threads: int = 1, rows: Sequence[int] = ()
    ) -> tuple[np.ndarray, ...]:
        """As `Format.run`, by edgekit's evaluator. Integers are cast to the width that the file has."""
        program = read(path)
        import torch

        torch.set_num_threads(threads)
        return _evaluated(path, program, program.outputs, inputs, rows)


def check_precisions(program: "Program", target: Target) -> None:
    """Return if the oldest system of the target holds every layer as it is. Raises: TargetError naming one."""
    deployment = target.limits.deployment
    for layer, precision in program.precisions.items():
        if (why := lacking(precision, deployment)) is not None:
            level = system(level_of(deployment))
            raise TargetError(f"target {target.name} is for {level}: layer {layer} is {precision}, and {why}")


def _name(target: Target) -> str:
    return NETWORK if is_network(target.limits.deployment) else NAME


def _evaluated(
    path: Path, program: "MilProgram", names: Sequence[str], inputs: tuple[np.ndarray, ...], rows: Sequence[int]
) -> tuple[np.ndarray, ...]:
    """The variables called `names` for all samples."""
    from edgekit.formats.mil.program import evaluate

    def call(batch: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        values = evaluate(program, batch, names)
        return tuple(values[name] for name in names)

    try:
        free = rows or (1,) * len(inputs)
        batches = [(v.type.shape or (1,))[0] or own for v, own in zip(program.inputs, free, strict=True)]
        return in_batches(call, inputs, batches)
    except ArtifactError as error:
        raise ArtifactError(f"{path.name}: {error}") from None
    except _DAMAGED as error:
        raise ArtifactError(f"{path.name}: its program is damaged ({type(error).__name__}: {error})") from None


def read(path: Path) -> "MilProgram":
    """The program of a package, a zip of one or a .mlmodel file; a neural network as the program that computes it.

    Raises: ArtifactError if it is damaged, no ML program, or has what the evaluator does not know; MissingExtraError.
    """
    package = read_package(path)
    from edgekit.formats.mil.neuralnetwork import read_network
    from edgekit.formats.mil.program import read_program

    kind = package.spec.WhichOneof("Type")
    try:
        if kind.startswith("neuralNetwork"):
            return read_network(package.spec)
        if kind != "mlProgram":
            raise ArtifactError(f"it is a {kind}: edgekit's evaluator knows ML programs and neural networks")
        return read_program(package.spec, package.file)
    except ArtifactError as error:
        raise ArtifactError(f"{path.name}: {error}") from None
    except _DAMAGED as error:
        raise ArtifactError(f"{path.name}: its program is damaged ({type(error).__name__}: {error})") from None


def _convert(program: "Program", target: Target, jobs: Sequence[tuple[frozenset[str], Path]]) -> None:
    """Writes each mix of `program` at its path, or none of them.

    Raises: ConvertError, TargetError.
    """
    from edgekit.formats.crossing import convert_mixes

    check_precisions(program, target)
    if program.int8 and target.numerics.activations != "int8-affine":
        raise TargetError(
            f"target {target.name}: Core ML holds int8-affine activations, not {target.numerics.activations}"
        )
    convert_mixes(
        program, jobs, "edgekit.formats.coreml_convert:convert", "Core ML",
        deployment=target.limits.deployment or DEFAULT,
    )  # fmt: skip


FORMAT = CoreMlFormat()
