"""An ML program (MIL) of a Core ML package: read, and evaluated op by op, with no Mac.

A value is what its declared type can hold: float32 ops compute in float32, and what is declared float16 is computed in
float32 and rounded to float16 at the end of each op, constants and inputs too. So an overflow is seen, and the error of
keeping values in 16 bits; not that of a unit which also sums in 16 bits, as Apple does not say how its units sum.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import ArtifactError
from edgekit.formats.mil.arguments import Value
from edgekit.formats.mil.forms import Form, forms_of
from edgekit.formats.mil.ops import KERNELS
from edgekit.formats.mil.values import Type, type_of, value_of

FUNCTION = "main"
_TORCH = {
    "BOOL": torch.bool, "FLOAT16": torch.float32, "FLOAT32": torch.float32, "FLOAT64": torch.float64,
    "INT8": torch.int8, "INT16": torch.int16, "INT32": torch.int32, "INT64": torch.int64, "UINT8": torch.uint8,
    "UINT16": torch.int32, "UINT32": torch.int64, "INT4": torch.int8,
}  # fmt: skip
"""What holds a type here; those not named are a byte or narrower."""
_REFUSED = (
    RuntimeError, ValueError, IndexError, TypeError, AttributeError, ArithmeticError, AssertionError, MemoryError
)  # fmt: skip
"""What an op raises for arguments that it cannot have: those of a file that somebody else made."""


class Variable(NamedTuple):
    """A named value."""

    name: str
    type: Type


class Op(NamedTuple):
    """One operation: the names of the variables that each argument takes, and what it gives."""

    kind: str
    takes: Mapping[str, tuple[str, ...]]
    gives: tuple[Variable, ...]


@dataclass(frozen=True)
class MilProgram:
    """A function of an ML program: `constants` by name, among them the weights of `compressed`, expanded."""

    inputs: tuple[Variable, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]
    constants: Mapping[str, Value]
    compressed: Mapping[str, Form]


def read_program(spec: Any, file: Callable[[str], bytes]) -> MilProgram:
    """The program in a model's specification, its inputs and outputs in the order of the model's description.

    Raises: ArtifactError: an op that is not covered, by name; values that are not what their types say.
    """
    function = spec.mlProgram.functions.get(FUNCTION) if FUNCTION in spec.mlProgram.functions else None
    if function is None:
        raise ArtifactError(f"it has no function {FUNCTION!r}")
    block = _block(function)
    inputs = {v.name: Variable(v.name, type_of(v.type)) for v in function.inputs}
    order = [feature.name for feature in spec.description.input if feature.name in inputs] or list(inputs)
    outputs = [feature.name for feature in spec.description.output if feature.name in block.outputs]
    constants: dict[str, Value] = {}
    compressed: dict[str, Form] = {}
    ops = []
    for index, operation in enumerate(block.operations):
        op = _op(operation, index, constants, file)
        if op.kind == "const":
            constants[op.gives[0].name] = constants[op.takes["val"][0]]
        elif op.kind.startswith("constexpr_"):
            constants |= _apply(op, constants)
            compressed |= forms_of(operation, compressed)
        else:
            ops.append(op)
    return MilProgram(
        tuple(inputs[name] for name in order), tuple(outputs or block.outputs), tuple(ops), constants,
        compressed,
    )  # fmt: skip


def _block(function: Any) -> Any:
    if function.opset in function.block_specializations:
        return function.block_specializations[function.opset]
    raise ArtifactError(f"its function {FUNCTION!r} has no block for its opset {function.opset!r}")


def _op(operation: Any, index: int, constants: dict[str, Value], file: Callable[[str], bytes]) -> Op:
    """An operation; values that are written in its arguments become constants of names that no variable has."""
    gives = tuple(Variable(v.name, type_of(v.type)) for v in operation.outputs)
    if operation.type != "const" and operation.type not in KERNELS:
        name = gives[0].name if gives else "nothing"
        raise ArtifactError(
            f"it has the op {operation.type} (it makes {name}), which edgekit's evaluator does not know"
        )
    takes: dict[str, tuple[str, ...]] = {}
    for argument, bound in operation.inputs.items():
        names = []
        for i, binding in enumerate(bound.arguments):
            name = binding.name
            if binding.WhichOneof("binding") == "value":
                name = f"\0{index} {argument} {i}"
                constants[name] = _held(value_of(binding.value, file))
            names.append(name)
        takes[argument] = tuple(names)
    for argument, value in operation.attributes.items():
        if argument != "name":
            takes[argument] = (f"\0{index} {argument}",)
            constants[takes[argument][0]] = _held(value_of(value, file))
    return Op(operation.type, takes, gives)


def evaluate(
    program: MilProgram, arrays: tuple[np.ndarray, ...], keep: Collection[str] | None = None
) -> dict[str, np.ndarray]:
    """The values of the variables named in `keep` (None: of the outputs), for inputs of exactly the program's shapes.

    Raises: ArtifactError: an input of another shape; an op whose result is not what the file declares.
    """
    wanted = program.outputs if keep is None else keep
    known: dict[str, Value] = dict(program.constants)
    types = {v.name: v.type for op in program.ops for v in op.gives} | {v.name: v.type for v in program.inputs}
    for variable, array in zip(program.inputs, arrays, strict=True):
        known[variable.name] = _settled(torch.from_numpy(np.array(array)), variable, "the input")
    last = {name: i for i, op in enumerate(program.ops) for names in op.takes.values() for name in names}
    for i, op in enumerate(program.ops):
        known |= _apply(op, known)
        for name in {name for names in op.takes.values() for name in names}:
            if last[name] == i and name not in wanted and name not in program.constants:
                known.pop(name, None)
    return {name: _array(known[name], types.get(name)) for name in wanted}


def variables(program: MilProgram) -> tuple[Variable, ...]:
    """The variables that ops make, in order of execution: all that `evaluate` can keep."""
    return tuple(variable for op in program.ops for variable in op.gives)


def _apply(op: Op, known: Mapping[str, Value]) -> dict[str, Value]:
    """What an op gives, by name, each as its declared type holds it."""
    try:
        arguments = {argument: _argument(names, known) for argument, names in op.takes.items()}
        results = KERNELS[op.kind](arguments)
    except KeyError as error:
        raise ArtifactError(f"its op {op.kind} (it makes {op.gives[0].name}) lacks {error}") from None
    except _REFUSED as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ArtifactError(f"its op {op.kind} (it makes {op.gives[0].name}) fails: {said[0][:300]}") from None
    made = results if isinstance(results, tuple) else (results,)
    where = f"its op {op.kind}"
    return {v.name: _settled(result, v, where) for v, result in zip(op.gives, made, strict=False)}


def _argument(names: tuple[str, ...], known: Mapping[str, Value]) -> Any:
    values = tuple(known[name] for name in names)
    return values[0] if len(values) == 1 else values


def _settled(result: Value, variable: Variable, where: str) -> Value:
    if not isinstance(result, Tensor):
        return result
    shape = tuple(result.shape)
    declared = shape if variable.type.shape is None else variable.type.shape
    if len(shape) != len(declared) or any(d is not None and d != s for s, d in zip(shape, declared, strict=True)):
        raise ArtifactError(f"{where} gives {variable.name} the shape {list(shape)}, its file says {list(declared)}")
    if variable.type.dtype == "FLOAT16":
        return result.to(torch.float16).float()
    return result.to(_TORCH.get(variable.type.dtype, torch.uint8))


def _held(value: np.ndarray | str | tuple[str, ...]) -> Value:
    """A constant as ops take it: 16-bit floats are held in 32 bits, which changes none of them."""
    if not isinstance(value, np.ndarray):
        return value
    wide = {"float16": "float32", "uint16": "int32", "uint32": "int64", "uint64": "int64"}.get(value.dtype.name)
    return torch.from_numpy(np.array(value, wide or value.dtype))


def _array(value: Value, kind: Type | None) -> np.ndarray:
    array = value.numpy() if isinstance(value, Tensor) else np.asarray(value)
    return array.astype(kind.numpy, copy=False) if kind is not None else array
