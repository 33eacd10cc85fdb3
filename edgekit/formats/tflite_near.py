"""What LiteRT computes otherwise than a program says, as a program: so far from it a file may be.

What comes into a layer whose int8 or 4-bit weights an op takes itself is measured row by row, not as a whole or not at
all; halves are made float32 and computed with. Kernels for int16 hold the factor from their sums to the output's scale
in 15 bits (`MultiplyByQuantizedMultiplier` for 64-bit sums, in LiteRT's kernels/internal/common.cc).
"""

from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from edgekit.compress.bare import bare
from edgekit.compress.dynamic import measure_inputs_
from edgekit.compress.quantizer import ACTIVATIONS
from edgekit.compress.relax import QUANTIZES, carry_meta_, quantized_layers, set_parameter_
from edgekit.models.model import export_program
from edgekit.models.program import Program

NEARLY = frozenset(("int8-dynamic", "int4-weights", "fp16", "int16"))
BITS, MOST = 15, 0x7FFF


def near(program: Program) -> Program | None:
    """`program` with these layers as LiteRT may compute them; None if it has none."""
    if not NEARLY & set(program.precisions.values()):
        return None
    module, stored = bare(program)
    four = {weight.layer: "int8-dynamic" for weight in stored if weight.precision == "int4-weights"}
    measure_inputs_(module, four)  # type: ignore[arg-type]
    _with_short_factors_(module, {name for name, word in program.precisions.items() if word == "int16"})
    exported = export_program(module, program.exported.example_inputs[0], program.spec.name)
    carry_meta_(module.graph, exported.graph)
    return Program(exported, program.spec, program.layers, program.precisions, program.floats)


def _with_short_factors_(module: GraphModule, int16: set[str]) -> None:
    """Scales weights and biases by what rounding its factor does to a layer's sums."""
    for layer in quantized_layers(module.graph, static=int16):
        takes, weight = layer.node.args[:2]
        gives = _quantize_behind(layer.node)
        if gives is None:
            continue
        scales = attrgetter(str(weight.args[1].target))(module).detach().double()  # type: ignore[union-attr]
        factors = (scales * float(takes.args[1]) / float(gives.args[1])).numpy()  # type: ignore[union-attr, arg-type]
        changed = torch.from_numpy(short(factors) / factors)
        name = f"{layer.name.replace('.', '_')}_short_scale"
        module.register_buffer(name, (scales * changed).float())
        with module.graph.inserting_before(weight):  # type: ignore[arg-type]
            held = module.graph.get_attr(name)
        weight.update_arg(1, held)  # type: ignore[union-attr]
        if layer.bias is not None:
            bias = attrgetter(layer.bias)(module).detach()
            set_parameter_(module, layer.bias, (bias.double() * changed).to(bias.dtype))
    module.recompile()


def short(factors: np.ndarray) -> np.ndarray:
    """Factors as a kernel of int16 holds them.

    >>> float(short(np.array([0.25]))[0]), float(short(np.array([1 / 3]))[0]) == 10923 / 2**15
    (0.25, True)
    """
    mantissas, exponents = np.frexp(factors)
    held = np.minimum(np.floor(mantissas * 2.0**BITS + 0.5), MOST)
    return np.asarray(np.ldexp(held, exponents - BITS))


def _quantize_behind(node: Node) -> Any:
    """The quantize of what a layer gives, behind its activation; None if there is none."""
    while len(node.users) == 1 and (user := next(iter(node.users))).target in ACTIVATIONS:
        node = user
    return next((user for user in node.users if user.target is QUANTIZES[0]), None)
