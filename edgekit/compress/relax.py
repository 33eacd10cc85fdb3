"""Which quantize/dequantize a mix leaves out of the all-int8 program, and a torch program without them.

The all-int8 program is made once; a mix is that program with some q/dq bypassed. Each dequantize has one taker, so
what to bypass is a set of dequantize names: lowered formats keep those names, and their mixes are the same set. A layer
that is int8-dynamic has its q/dq for itself, so it goes without regard to others. Layers of other precisions stay.
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Graph, GraphModule, Node

from edgekit.compress.dynamic import DEQUANTIZES_BY, QUANTIZES_BY
from edgekit.compress.half import CASTS, HALVES
from edgekit.compress.quantizer import FOLLOWERS, LAYERS, aten
from edgekit.compress.units import Unit, int8_values
from edgekit.errors import ConvertError
from edgekit.models.model import export_program
from edgekit.models.program import Program

decomposed = torch.ops.quantized_decomposed
QUANTIZES = (decomposed.quantize_per_tensor.default, decomposed.quantize_per_channel.default)
DEQUANTIZES = (decomposed.dequantize_per_tensor.default, decomposed.dequantize_per_channel.default)
ParameterOf = Callable[[Node], str | None]
"""The name of the parameter that a node reads; None if it reads none."""


@dataclass(frozen=True)
class QuantizedLayer:
    """A convolution or linear layer behind a dequantized input and weight; `bias` is its parameter, if it has one."""

    node: Node
    name: str
    weight: str
    bias: str | None


def parameter(node: Node) -> str | None:
    """The parameter that a node of a GraphModule reads."""
    return str(node.target) if node.op == "get_attr" else None


def quantized_layers(
    graph: Graph, of: ParameterOf = parameter, static: Set[str] | None = None
) -> tuple[QuantizedLayer, ...]:
    """The layers of `graph` whose weight is quantized, in order of execution; only the `static` ones, if given."""
    found = []
    for node in graph.nodes:
        weight = node.args[1] if node.target in LAYERS else None
        if not isinstance(weight, Node) or weight.target not in DEQUANTIZES:
            continue
        name = of(source_of(weight))
        if static is not None and (name is None or name.removesuffix(".weight") not in static):
            continue
        bias = node.args[2] if len(node.args) > 2 else None
        if name is not None:
            behind = of(bias) if isinstance(bias, Node) else None
            found.append(QuantizedLayer(node, name.removesuffix(".weight"), name, behind))
    return tuple(found)


def bypassed(
    graph: Graph, int8: Set[str], of: ParameterOf = parameter, static: Set[str] | None = None
) -> frozenset[str]:
    """The names of the dequantize nodes that go, with the quantize before them, if only the `int8` layers stay int8.

    `static` are the layers that may go, as in `quantized_layers`; what belongs to others is not among the names.
    """
    layers = quantized_layers(graph, of, static)
    units, unit_of = units_of(graph, of, static)
    kept = int8_values(units, int8)
    gone = {layer.node.args[1].name for layer in layers if layer.name not in int8}
    for node in graph.nodes:
        if node.target not in DEQUANTIZES or is_weight(source_of(node), of) or node.args[5] is not torch.int8:
            continue
        takers = {unit_of.get(user, "") for user in node.users}
        if source_of(node).name not in kept and not takers & kept:
            gone.add(node.name)
    return frozenset(gone)


def relax_(module: GraphModule, int8: Set[str]) -> GraphModule:
    """`module`, changed in place: all but the `int8` layers compute in float again, with the parameters there are."""
    return _without_(module, bypassed(module.graph, int8))


def _without_(module: GraphModule, gone: Set[str]) -> GraphModule:
    for node in list(module.graph.nodes):
        if node.name in gone:
            node.replace_all_uses_with(source_of(node))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def mixed(program: Program, int8: Set[str]) -> Program:
    """`program` with only these of its int8 and int8-dynamic layers so; the others have their float parameters back.

    It computes the same as quantizing the model by that recipe: ranges and shared scales are those of the full program.
    Layers of other precisions stay.

    Raises: ConvertError if a layer is to be int8 that is not.
    """
    floats = float_parameters(program, int8)
    module = program.exported.module(check_guards=False)
    for name, value in floats.items():
        set_parameter_(module, name, torch.from_numpy(np.array(value)))
    _without_(module, _bypassed(module.graph, program, int8, parameter))
    example: Any = program.exported.example_inputs
    exported = export_program(module, example[0], program.spec.name, program.spec.inputs)
    carry_meta_(module.graph, exported.graph)
    left = {name: value for name, value in program.floats.items() if name not in floats}
    gone = program.mixable - int8
    precisions = {name: word for name, word in program.precisions.items() if name not in gone}
    return Program(exported, program.spec, program.layers, precisions, left)


def bypassed_in(program: Program, int8: Set[str]) -> frozenset[str]:
    """The names of the dequantize nodes of `program.exported` that `mixed` leaves out."""
    return _bypassed(program.exported.graph, program, int8, parameter_of(program.exported))


def _bypassed(graph: Graph, program: Program, int8: Set[str], of: ParameterOf) -> frozenset[str]:
    static = bypassed(graph, program.int8 & int8, of, program.int8)
    layers = quantized_layers(graph, of, program.mixable - program.int8 - int8)
    return static.union(node.name for layer in layers for node in layer.node.args[:2])


def float_parameters(program: Program, int8: Set[str]) -> dict[str, np.ndarray]:
    """The float weights and biases, by parameter name, of the layers that `mixed` leaves in float.

    Raises: ConvertError if a layer is to be int8 that is not.
    """
    if missing := sorted(int8 - program.mixable):
        raise ConvertError(f"{program.spec.name}: layer {missing[0]} is float in the program and cannot stay int8")
    layers = quantized_layers(program.exported.graph, parameter_of(program.exported), program.mixable)
    names = {name for layer in layers if layer.name not in int8 for name in (layer.weight, layer.bias)}
    return {name: value for name, value in program.floats.items() if name in names}


def parameter_of(exported: torch.export.ExportedProgram) -> ParameterOf:
    """Reads the parameters and buffers of an ExportedProgram's graph, whose nodes are placeholders."""
    signature = exported.graph_signature
    names: Mapping[str, str] = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return lambda node: names.get(node.name)


def in_float(program: Program) -> GraphModule:
    """`program` with nothing quantized and no layer in half, its parameters as they were: the float model."""
    module = program.exported.module(check_guards=False)
    for name, value in program.floats.items():
        set_parameter_(module, name, torch.from_numpy(np.array(value)))
    for node in list(module.graph.nodes):
        if node.target in DEQUANTIZES or node.target is DEQUANTIZES_BY:
            node.replace_all_uses_with(source_of(node))
        elif node.target is CASTS and node.kwargs["dtype"] in (torch.float32, *HALVES.values()):
            node.replace_all_uses_with(node.args[0])
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def set_parameter_(module: GraphModule, name: str, value: torch.Tensor) -> None:
    """Puts `value` where `name` is, as a new parameter: the old one may be the caller's."""
    owner, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(owner), leaf, torch.nn.Parameter(value, requires_grad=False))


def carry_meta_(old: Graph, new: Graph) -> None:
    """Gives the nodes of a re-exported graph the module and the user's source line that the old one knew."""
    pairs = ([n for n in graph.nodes if n.op == "call_function" and _counts(n)] for graph in (old, new))
    for before, after in zip(*pairs, strict=False):
        if before.target is not after.target:
            return
        for key in ("stack_trace", "nn_module_stack"):
            if key in before.meta:
                after.meta[key] = before.meta[key]


def _counts(node: Node) -> bool:
    return node.target not in QUANTIZES and node.target not in DEQUANTIZES


def source_of(dequantize: Node) -> Node:
    """The value that a dequantize gives back."""
    quantize: Any = dequantize.args[0]
    return quantize.args[0] if quantize.target in (*QUANTIZES, QUANTIZES_BY) else quantize


def is_weight(value: Any, of: ParameterOf = parameter) -> bool:
    """Whether a value is a parameter, or one reshaped to the rows that share a scale."""
    return of(value) is not None or (value.target is aten.reshape.default and of(value.args[0]) is not None)


def units_of(
    graph: Graph, of: ParameterOf = parameter, static: Set[str] | None = None
) -> tuple[list[Unit], dict[Node, str]]:
    """Units in order, named by the node whose value they make, and the unit of each node inside one.

    `static` are the layers that have a name in their unit, as in `quantized_layers`.
    """
    names = {layer.node: layer.name for layer in quantized_layers(graph, of, static)}
    made = [n.args[0] for n in graph.nodes if n.target in QUANTIZES and n.args[0].op == "call_function"]
    made = [n for n in made if not is_weight(n, of)]
    made += [n for node in graph.nodes if node.op == "output" for n in node.all_input_nodes]
    ends = dict.fromkeys(made)
    units: dict[str, Unit] = {}
    unit_of: dict[Node, str] = {}
    for value in ends:
        inside, takes = _inside(value, ends.keys(), of)
        if not inside:
            continue
        layers = [names[n] for n in inside if n in names]
        quantizable = all(n.target in FOLLOWERS or n in names for n in inside)
        units[value.name] = Unit(value.name, tuple(takes), layers[0] if layers else None, quantizable)
        unit_of.update(dict.fromkeys(inside, value.name))
    order = {node.name: i for i, node in enumerate(graph.nodes)}
    return sorted(units.values(), key=lambda u: order[u.makes]), unit_of


def _inside(value: Node, ends: Set[Node], of: ParameterOf) -> tuple[list[Node], list[str]]:
    """The nodes from `value` back to the dequantized values that they take, and those values' names."""
    inside: dict[Node, None] = {}
    takes: dict[str, None] = {}
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if node in inside or of(node) is not None:
            continue
        if node.target in DEQUANTIZES:
            if not is_weight(source_of(node), of):
                takes[source_of(node).name] = None
        elif node.op == "placeholder" or (node in ends and node is not value):
            takes[node.name] = None
        elif node.op == "call_function":
            inside[node] = None
            waiting += node.all_input_nodes
    return list(inside), list(takes)
