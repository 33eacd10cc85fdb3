"""Where the layers of a program are in the ML program that coremltools made of it."""

from collections.abc import Sequence

from edgekit.core.layer import LayerSpec
from edgekit.formats.mil.program import MilProgram, Op, Variable

RELABELLED = {"UINT8": 128}
"""coremltools writes int8 values from -128 up as uint8 ones from 0: what is to be taken off them, by type."""


def layer_variables(program: MilProgram, layers: Sequence[LayerSpec]) -> dict[str, Variable]:
    """By the layer's name the variable of its result: integers where it is quantized; layers not found are left out.

    coremltools names what an op makes as the node of torch's graph, and quantizes by numbers of its own: from the op
    that a layer begins with, whatever alone reads on is followed to its quantize.
    """
    readers: dict[str, list[Op]] = {}
    for op in program.ops:
        for name in {name for names in op.takes.values() for name in names}:
            readers.setdefault(name, []).append(op)
    made = {variable.name: variable for op in program.ops for variable in op.gives}
    found = {}
    for spec in layers:
        variable = _quantized(made.get(spec.call), readers) if spec.step else made.get(spec.value)
        if variable is not None:
            found[spec.name] = variable
    return found


def _quantized(variable: Variable | None, readers: dict[str, list[Op]]) -> Variable | None:
    while variable is not None:
        takers = readers.get(variable.name, [])
        quantizes = [op for op in takers if op.kind == "quantize"]
        if quantizes:
            return quantizes[0].gives[0]
        variable = takers[0].gives[0] if len(takers) == 1 and len(takers[0].gives) == 1 else None
    return None
