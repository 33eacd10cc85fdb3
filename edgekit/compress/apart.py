"""A quantized program with its layers set apart: each is fed by inputs of its own, and what each makes is an output.

At the end of a deep net two right ways of summing differ already (formats/verify.py); layer by layer, with the
reference's input to each, they do not. The layers set apart are one more program, so a back end lowers all of them as
it lowers any program, once, and every layer of what it compiled can be compared, whatever the format.

A layer here is a unit of relax.py: what lies between dequantize and quantize.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import Graph, GraphModule, Node

from edgekit.compress.quantizer import FOLLOWERS, LAYERS
from edgekit.compress.reference import reference_values
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, carry_meta_, is_weight, source_of
from edgekit.core.model import ModelSpec, TensorSpec
from edgekit.models.model import export_program
from edgekit.models.program import Program

aten = torch.ops.aten
NEAR = frozenset((aten.softmax.int, aten.sigmoid.default, aten.matmul.default, aten.bmm.default))
"""Ops with int8 kernels that approximate: LiteRT's own product of two computed values requantizes in fixed point."""
EXACT = (LAYERS | FOLLOWERS) - NEAR


@dataclass(frozen=True)
class Part:
    """A unit, by the node that makes its value; `module` owns it, `ops` are what it computes, in order.

    `exact`: every op of it is integer arithmetic, so that there is one right answer.
    """

    name: str
    module: str
    ops: tuple[str, ...]
    exact: bool


@dataclass(frozen=True)
class Apart:
    """`program` takes the values of the nodes `takes` of the program that it is made from; an output for each part."""

    program: Program
    parts: tuple[Part, ...]
    takes: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    value: Node
    quantize: Node | None
    nodes: tuple[Node, ...]
    takes: tuple[Node, ...]


def set_apart(program: Program, inputs: tuple[np.ndarray, ...]) -> tuple[Apart, tuple[np.ndarray, ...]]:
    """The layers of `program` set apart, and what each takes in the reference for `inputs` (sample first)."""
    module = program.exported.module(check_guards=False)
    units = _units(module.graph)
    takes = tuple(node.name for unit in units for node in unit.takes)
    values = reference_values(program, takes, inputs)
    calls = -(-len(inputs[0]) // program.spec.inputs[0].shape[0])
    example = tuple(torch.from_numpy(array[: len(array) // calls].copy()) for array in values)
    apart = GraphModule(module, _apart(units))
    exported = export_program(apart, example, f"{program.spec.name}, its layers apart")
    carry_meta_(apart.graph, exported.graph)
    made = next(node for node in exported.graph.nodes if node.op == "output").args[0]
    spec = ModelSpec(
        name=f"{program.spec.name}-apart",
        digest=program.spec.digest,
        inputs=tuple(_spec(f"in_{i}", tensor) for i, tensor in enumerate(example)),
        outputs=tuple(_spec(f"out_{i}", node.meta["val"]) for i, node in enumerate(made)),
    )
    parts = tuple(map(_part, units))
    return Apart(Program(exported, spec, program.layers, program.precisions, program.floats), parts, takes), values


def _units(graph: Graph) -> list[_Unit]:
    """Units in order of execution: one for each value that is quantized, and for each output that is float."""
    order = {node: i for i, node in enumerate(graph.nodes)}
    ends: dict[Node, list[Node | None]] = {}
    for node in graph.nodes:
        if node.target in QUANTIZES and node.args[0].op == "call_function" and not is_weight(node.args[0]):
            ends.setdefault(node.args[0], []).append(node)
        elif node.op == "output":
            for value in node.all_input_nodes:
                ends.setdefault(value, [None])
    found = []
    for value in sorted(ends, key=order.__getitem__):
        nodes, takes = _inside(value, ends.keys())
        if nodes and takes:
            ordered = tuple(sorted(nodes, key=order.__getitem__)), tuple(sorted(takes, key=order.__getitem__))
            found += [_Unit(value, quantize, *ordered) for quantize in _distinct(ends[value])]
    return found


def _distinct(quantizes: Sequence[Node | None]) -> list[Node | None]:
    return list({None if q is None else q.args[1:]: q for q in quantizes}.values())


def _inside(value: Node, ends: Any) -> tuple[list[Node], list[Node]]:
    """The nodes from `value` back to the values that it takes (weights count as inside), and those values."""
    inside: dict[Node, None] = {}
    takes: dict[Node, None] = {}
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if node in inside or node in takes:
            continue
        dequantizes = node.target in DEQUANTIZES and not is_weight(source_of(node))
        if dequantizes or node.op == "placeholder" or (node in ends and node is not value):
            takes[node] = None
        else:
            inside[node] = None
            waiting += node.all_input_nodes
    return ([] if value in takes else list(inside)), list(takes)


def _apart(units: Sequence[_Unit]) -> Graph:
    graph = Graph()
    feeds = [[graph.placeholder(f"x{i}_{k}") for k in range(len(unit.takes))] for i, unit in enumerate(units)]
    graph.output(tuple(_copied(graph, unit, feed) for unit, feed in zip(units, feeds, strict=True)))
    return graph


def _copied(graph: Graph, unit: _Unit, feed: Sequence[Node]) -> Node:
    """What `unit` makes of `feed`, quantized and dequantized again."""
    there = dict(zip(unit.takes, feed, strict=True))
    for node in unit.takes:
        if node.target in DEQUANTIZES:
            quantize: Any = node.args[0]
            there[quantize] = graph.node_copy(quantize, lambda n, fed=there[node]: fed)
            there[node] = graph.node_copy(node, there.__getitem__)
    for node in unit.nodes:
        there[node] = graph.node_copy(node, there.__getitem__)
    if unit.quantize is None:
        return there[unit.value]
    there[unit.quantize] = graph.node_copy(unit.quantize, there.__getitem__)
    return graph.node_copy(next(iter(unit.quantize.users)), there.__getitem__)


def _part(unit: _Unit) -> Part:
    ops = [n for n in unit.nodes if n.op == "call_function" and n.target not in (*QUANTIZES, *DEQUANTIZES)]
    exact = unit.quantize is not None and all(n.target in EXACT for n in ops)
    names = tuple(str(getattr(n.target, "_opname", getattr(n.target, "__name__", n.target))) for n in ops)
    return Part(unit.value.name, _module(ops), names, exact)


def _module(ops: Sequence[Node]) -> str:
    """The module that owns a unit: that of its first layer, else of its last op; "" is the model itself."""
    layers = [layer for node in ops if (layer := _layer(node))]
    stack = (ops[-1].meta.get("nn_module_stack") or {}) if ops else {}
    return ([*layers, *reversed([path for path, _ in stack.values() if path])] or [""])[0]


def _layer(node: Node) -> str | None:
    """The name of a layer whose weight is quantized, or not."""
    if node.target not in LAYERS:
        return None
    weight: Any = node.args[1]
    while weight.op == "call_function":
        weight = weight.args[0]
    return str(weight.target).removesuffix(".weight")


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
