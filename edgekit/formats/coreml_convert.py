"""Writes a program as a Core ML model by coremltools, and looks what became of it. Runs in a child process."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from edgekit.core.target import Deployment
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.coreml_call import convert_by_coremltools, finish_, lost_weight, spelled_out
from edgekit.formats.coreml_network import write_network
from edgekit.formats.coreml_ops import keep_bounds_narrow_, keep_gelus_form_, keep_kind_of_zeros_, keep_weights_
from edgekit.formats.coreml_weights import STORE, on_grid, register_pass_
from edgekit.formats.mil.deployment import is_network
from edgekit.formats.mil.grid import Grid, digest_of
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.core.model import TensorSpec
    from edgekit.formats.mil.program import MilProgram
    from edgekit.models.program import Program

LAYERS = frozenset(("conv", "conv_transpose", "linear", "matmul"))
"""The ops that convolutions and linear layers become."""
_NOT_NEEDED = ("sklearn", "transformers")
"""What coremltools and torchao import where it is installed, for seconds, and no conversion uses."""
_MOVES = frozenset(("reshape", "transpose", "expand_dims", "squeeze", "pad", "slice_by_index", "split", "concat"))


def convert(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[None, dict[str, np.ndarray]]:
    """Writes each mix of a program as one file, and looks whether its int8 layers are int8 there.

    Raises: ConvertError with the module, the line of the model's source and the op that cannot be converted;
    MissingExtraError.
    """
    for package in _NOT_NEEDED:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    require("coremltools", extra="coreml")
    from edgekit.formats.crossing import mixes_in

    keep_gelus_form_()
    keep_bounds_narrow_()
    keep_kind_of_zeros_()
    write = write_network if is_network(job["deployment"]) else write_program
    for part, path in mixes_in(job):
        write(part, path, job["deployment"])
        check_file(part, path)
    return None, {}


def write_program(program: "Program", path: Path, deployment: Deployment) -> None:
    """Writes `program` at `path`, a package with an ML program, and looks whether it has the program's weights.

    Raises: ConvertError.
    """
    import coremltools as ct

    from edgekit.formats.mil.mlpackage import write_package

    grids: dict[str, Grid] = {}

    def keep(grid: Grid, name: str) -> Any:
        grids[name] = grid
        return on_grid(grid, name, deployment)

    keep_weights_(keep)
    register_pass_(deployment)
    pipeline = ct.PassPipeline()
    pipeline.append_pass(STORE)
    model = convert_by_coremltools(
        program, spelled_out(program), minimum_deployment_target=ct.target[deployment],
        compute_precision=ct.precision.FLOAT32, pass_pipeline=pipeline,
    )  # fmt: skip
    spec = model.get_spec()
    finish_(spec, program)
    write_package(spec, Path(model.weights_dir) if model.weights_dir else None, path)
    check_weights(program, made_by_coremltools(program, path), grids)


def made_by_coremltools(program: "Program", path: Path) -> "MilProgram":
    """The file at `path` as edgekit's evaluator reads it. Raises: ConvertError."""
    from edgekit.formats.coreml import read

    try:
        return read(path)
    except ArtifactError as error:
        said = f"the converter wrote what edgekit's evaluator refuses: {error}"
        raise ConvertError(f"model {program.spec.name} as Core ML: {said}") from error


def check_weights(program: "Program", made: "MilProgram", grids: Mapping[str, Grid]) -> None:
    """Return if each weight that is on a grid is in the file to the bit, compressed. Raises: ConvertError."""
    held = {digest_of(value.numpy()) for name in made.compressed if isinstance(value := made.constants[name], Tensor)}
    for name, grid in grids.items():
        if digest_of(grid.values) not in held:
            raise ConvertError(f"model {program.spec.name} as Core ML: {lost_weight(name)}")


def check_file(program: "Program", path: Path) -> None:
    """Return if the file at `path` can be read, has the program's inputs, and an int8 op for each int8 layer.

    Raises: ConvertError.
    """
    from edgekit.compress.relax import parameter_of, quantized_layers

    where, made = f"model {program.spec.name} as Core ML", made_by_coremltools(program, path)
    found = [(v.type.shape, np.dtype(v.type.numpy).kind) for v in made.inputs]
    wanted = [(_declared(s), np.dtype(s.dtype).kind.replace("b", "f")) for s in program.spec.inputs]
    if found != wanted:
        raise ConvertError(f"{where}: want inputs {wanted}, the converter made {found}")
    static = quantized_layers(program.exported.graph, parameter_of(program.exported), program.int8)
    if (count := len(int8_layers(made))) < len(static):
        raise ConvertError(f"{where}: {len(static)} layers are quantized, and only {count} are int8 in the file")


def _declared(spec: "TensorSpec") -> tuple[int | None, ...]:
    """The shape of an input as a package says it: Core ML has no scalars, and a free size is none."""
    free = {axis.axis for axis in spec.free}
    return tuple(None if i in free else size for i, size in enumerate(spec.shape)) or (1,)


def int8_layers(made: "MilProgram") -> tuple[str, ...]:
    """What the convolutions and linear layers make whose weights are int8, and whose input is dequantized int8."""
    maker = {v.name: op for op in made.ops for v in op.gives}

    def is_int8(name: str) -> bool:
        op = maker.get(name)
        while op is not None and op.kind in _MOVES:
            op = maker.get((op.takes.get("x") or op.takes["values"])[0])
        return op is not None and op.kind == "dequantize"

    return tuple(
        op.gives[0].name
        for op in made.ops
        if op.kind in LAYERS
        and (op.takes.get("weight") or op.takes["y"])[0] in made.compressed
        and is_int8(op.takes["x"][0])
    )
