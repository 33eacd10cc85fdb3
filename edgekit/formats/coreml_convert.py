"""Writes a program as a Core ML package by coremltools, and looks what became of it. Runs in a child process."""

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import ArtifactError, ConvertError
from edgekit.models.extras import require

if TYPE_CHECKING:
    from edgekit.formats.mil.program import MilProgram
    from edgekit.models.program import Program

LAYERS = frozenset(("conv", "conv_transpose", "linear", "matmul"))
"""The ops that convolutions and linear layers become."""
_NOT_NEEDED = ("sklearn", "transformers")
"""What coremltools and torchao import where it is installed, for seconds, and no conversion uses."""
_MOVES = frozenset(("reshape", "transpose", "expand_dims", "squeeze", "pad", "slice_by_index", "split", "concat"))
_MAX_POOLS = frozenset(f"aten.max_pool{rank}d.default" for rank in (1, 2, 3))
_DATE = "com.github.apple.coremltools.conversion_date"
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
        _write(part, path)
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


def _write(program: "Program", path: Path) -> None:
    import coremltools as ct

    from edgekit.formats.mil.mlpackage import write_package

    exported = program.exported.run_decompositions(recurrent_steps())
    say_strides_(exported.graph)
    try:
        model = ct.convert(
            exported, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )  # fmt: skip
    except Exception as error:
        said = _why(error, exported.graph)
        raise ConvertError(f"model {program.spec.name} cannot be written as Core ML: {said}") from error
    spec = model.get_spec()
    _name_(spec, program)
    spec.description.metadata.userDefined.pop(_DATE, None)
    write_package(spec, Path(model.weights_dir) if model.weights_dir else None, path)


def recurrent_steps() -> dict[Any, Any]:
    """How recurrent layers are written out step by step: coremltools knows them in traces alone."""
    import torch

    aten = torch.ops.aten
    kinds = (aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input)
    return dict(torch._decomp.get_decompositions(kinds))


def say_strides_(graph: Any) -> None:
    """Writes out the strides of max pools that are those of their kernel: coremltools 9.0 knows no default."""
    for node in graph.nodes:
        if str(node.target) in _MAX_POOLS and len(node.args) == 2:
            node.args = (*node.args, node.args[1])


def _name_(spec: Any, program: "Program") -> None:
    """Gives the model's inputs and outputs the names that the program's have, by way of names that none has."""
    import coremltools as ct

    sides = (
        (spec.description.input, program.spec.inputs, True),
        (spec.description.output, program.spec.outputs, False),
    )
    for features, tensors, are_inputs in sides:
        if len(features) != len(tensors):
            kind = "inputs" if are_inputs else "outputs"
            raise ConvertError(
                f"model {program.spec.name} as Core ML: want {len(tensors)} {kind}, the converter made "
                f"{len(features)}: an output must not be an input, nor come twice"
            )
        now = [feature.name for feature in features]
        passing = [f"edgekit_{'in' if are_inputs else 'out'}_{i}" for i in range(len(now))]
        for old, new in (*zip(now, passing, strict=True), *zip(passing, (t.name for t in tensors), strict=True)):
            ct.utils.rename_feature(spec, old, new, rename_inputs=are_inputs, rename_outputs=not are_inputs)


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


def _why(error: BaseException, graph: Any) -> str:
    """The module, the user's source line and the op where the converter stops, as far as they are known."""
    from edgekit.models.model import first_line, written_at

    nodes = {node.name: node for node in graph.nodes}
    names = [getattr(frame.f_locals.get("node"), "name", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    node = next((nodes[name] for name in reversed(names) if name in nodes), None)
    if node is None:
        return first_line(error)
    if isinstance(error, NotImplementedError):
        return f"{written_at(node)}op {node.target} has no translation: write it with other torch calls"
    return f"{written_at(node)}op {node.target}: {first_line(error)}"
