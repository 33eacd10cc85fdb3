"""Writes a program as a Core ML model by coremltools, and looks what became of it. Runs in a child process."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.target import Deployment
from edgekit.errors import ArtifactError, ConvertError
from edgekit.formats.coreml_call import convert_by_coremltools, finish_, spelled_out
from edgekit.formats.coreml_network import write_network
from edgekit.formats.mil.deployment import is_network
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.formats.mil.program import MilProgram
    from edgekit.models.program import Program

LAYERS = frozenset(("conv", "conv_transpose", "linear", "matmul"))
"""The ops that convolutions and linear layers become."""
_NOT_NEEDED = ("sklearn", "transformers")
"""What coremltools and torchao import where it is installed, for seconds, and no conversion uses."""
_MOVES = frozenset(("reshape", "transpose", "expand_dims", "squeeze", "pad", "slice_by_index", "split", "concat"))
_QUANTIZE, _DEQUANTIZE = (f"quantized_decomposed.{word}_per_channel" for word in ("quantize", "dequantize"))


def convert(job: dict[str, Any], _: dict[str, np.ndarray]) -> tuple[None, dict[str, np.ndarray]]:
    """Writes each mix of a program as one file, and looks whether its int8 layers are int8 there.

    Raises: ConvertError with the module, the line of the model's source and the op that cannot be converted;
    MissingExtraError.
    """
    for package in _NOT_NEEDED:
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
    require("coremltools", extra="coreml")
    from edgekit.formats.crossing import mixes_in

    keep_weights_narrow_()
    keep_gelus_form_()
    for part, path in mixes_in(job):
        if is_network(job["deployment"]):
            write_network(part, path, job["deployment"])
        else:
            _write(part, path, job["deployment"])
        check_file(part, path)
    return None, {}


def keep_weights_narrow_() -> None:
    """Makes coremltools, in this process, keep weights that are quantized to -127..127 within that.

    The format's own quantize has no narrower range than its type, so weights are quantized here.
    """
    from coremltools.converters.mil import Builder as mb  # noqa: N813  what all call it
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    def quantize(context: Any, node: Any) -> None:
        weight, scale, zero, axis, low, high = (v.val for v in _get_inputs(context, node)[:6])
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        steps = np.rint(weight * (np.float32(1) / scale.astype(np.float32)).reshape(shape)) + zero.reshape(shape)
        context.add(mb.const(val=np.clip(steps, low, high).astype(np.int8), name=node.name))

    def dequantize(context: Any, node: Any) -> None:
        steps, scale, zero, axis = _get_inputs(context, node)[:4]
        known = {"zero_point": zero.val.astype(np.int8), "scale": scale.val.astype(np.float32)}
        context.add(mb.dequantize(input=steps, axis=int(axis.val), name=node.name, **known))

    for name, function in ((_QUANTIZE, quantize), (_DEQUANTIZE, dequantize)):
        function.__name__ = f"edgekit_{function.__name__}_per_channel"
        register_torch_op(torch_alias=[name, name.replace(".", "::")], override=True)(function)


def keep_gelus_form_() -> None:
    """Makes coremltools, in this process, see which GELU is meant: 9.0 takes every one of a program to be exact."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    def gelu(context: Any, node: Any) -> None:
        form = (node.kwinputs or {}).get("approximate", ("none",))[0]
        mode = "TANH_APPROXIMATION" if form == "tanh" else "EXACT"
        context.add(mb.gelu(x=_get_inputs(context, node)[0], mode=mode, name=node.name))

    register_torch_op(override=True)(gelu)


def _write(program: "Program", path: Path, deployment: Deployment) -> None:
    import coremltools as ct

    from edgekit.formats.mil.mlpackage import write_package

    model = convert_by_coremltools(
        program, spelled_out(program), minimum_deployment_target=ct.target[deployment],
        compute_precision=ct.precision.FLOAT32,
    )  # fmt: skip
    spec = model.get_spec()
    finish_(spec, program)
    write_package(spec, Path(model.weights_dir) if model.weights_dir else None, path)


def check_file(program: "Program", path: Path) -> None:
    """Return if the file at `path` can be read, has the program's inputs, and an int8 op for each int8 layer.

    Raises: ConvertError.
    """
    from edgekit.compress.relax import parameter_of, quantized_layers
    from edgekit.formats.coreml import read

    where = f"model {program.spec.name} as Core ML"
    try:
        made = read(path)
    except ArtifactError as error:
        raise ConvertError(f"{where}: the converter wrote what edgekit's evaluator refuses: {error}") from error
    found = [(v.type.shape, np.dtype(v.type.numpy).kind) for v in made.inputs]
    wanted = [(s.shape or (1,), np.dtype(s.dtype).kind) for s in program.spec.inputs]
    if found != wanted:
        raise ConvertError(f"{where}: want inputs {wanted}, the converter made {found}")
    wanted_int8 = len(quantized_layers(program.exported.graph, parameter_of(program.exported)))
    found_int8 = len(int8_layers(made))
    if found_int8 < wanted_int8:
        raise ConvertError(f"{where}: {wanted_int8} layers are quantized, and only {found_int8} are int8 in the file")


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
