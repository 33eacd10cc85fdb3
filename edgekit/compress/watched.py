"""What a program computes at each of its layers: as a float model, quantized by the reference, and in float32."""

from collections.abc import Iterable, Iterator, Mapping
from operator import getitem
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch.fx import GraphModule, Interpreter, Node

from edgekit.compress.dynamic import MEASURES
from edgekit.compress.half import CASTS
from edgekit.compress.quantizer import ACTIVATIONS, LAYERS, MOVES
from edgekit.compress.reference import Dividing, in_float64, watching
from edgekit.compress.relax import DEQUANTIZES, QUANTIZES, in_float, parameter_of
from edgekit.core.layer import LayerSpec
from edgekit.core.model import example_sizes
from edgekit.models.free import shape_at, symbols
from edgekit.models.program import Program

aten = torch.ops.aten
POOLS = frozenset((aten.max_pool2d.default, aten.avg_pool2d.default, aten.upsample_nearest2d.vec))
SILENT = MOVES - POOLS
"""Ops that only move values: a layer of their own would say what the one before said."""
FUSED = ACTIVATIONS | {aten.batch_norm.default, aten.relu_.default, aten.hardtanh_.default, aten.relu6_.default}
"""What formats run as one with the op before."""


_STORES = (*QUANTIZES, *DEQUANTIZES, CASTS, aten.reshape.default)
"""What a weight goes through before a layer takes it."""
NOTHING = frozenset((*QUANTIZES, *DEQUANTIZES, *MEASURES, CASTS))
"""What stores values in fewer bits, and computes nothing."""


class Watched(NamedTuple):
    """A layer, and the node whose float value its result is."""

    layer: LayerSpec
    made: str


class LayerValues(NamedTuple):
    """What one layer gives for a batch: as a float model, by the reference, summed in float32, and by a program near.

    The last three are integers where the layer is quantized.
    """

    floats: np.ndarray
    exact: np.ndarray
    rough: np.ndarray
    near: np.ndarray


def watched(program: Program) -> tuple[Watched, ...]:
    """The layers of `program`, and every op between them that computes, in order of execution.

    An exporter renames what is behind an op that works in place, so float values then have no name to be found by.
    """
    of = parameter_of(program.exported)
    names = {n: t.name for n, t in zip(_outputs(program), program.spec.outputs, strict=True)}
    if not any(str(n.target).partition(".default")[0].endswith("_") for n in _computing(program.exported.graph)):
        names = {n: n.name for n in _computing(program.exported.graph)} | names
    found: list[Watched] = []
    taken: dict[str, int] = {}
    free, sizes = symbols(program.exported, program.spec.inputs), example_sizes(program.spec.inputs)
    for node in _computing(program.exported.graph):
        if not _begins(node) or _is_silent(node):
            continue
        end = _end_of_unit(node)
        module, name = _name(node, of)
        taken[name] = taken.get(name, 0) + 1
        again = f"#{taken[name]}" if taken[name] > 1 else ""
        shape = shape_at(end.meta["val"].shape, free, sizes)
        spec = _spec(f"{name}{again}", module, node, end, names, shape)
        precision = program.precisions.get(name, "fp32") if name in program.layers else None
        found.append(Watched(msgspec.structs.replace(spec, precision=precision), end.name))
    return tuple(found)


def layer_values(
    program: Program, inputs: tuple[np.ndarray, ...], near: Program | None = None
) -> Iterator[dict[str, LayerValues]]:
    """By the layer's name, what each gives for one batch of `inputs` after the other.

    `near` computes the same layers with other precisions; without it the reference's values stand for its.
    """
    rows = watched(program)
    plain, exact = (program.exported.module(check_guards=False) for _ in range(2))
    in_float64(exact)
    floats = in_float(program)
    names = _renamed(program.exported.graph, plain.graph)
    of_float = _renamed(program.exported.graph, floats.graph, keep=_computes)
    values = {row.layer.name: names[_node_named(program, row)] for row in rows}
    made = {row.layer.name: of_float[row.made] for row in rows}
    other = None if near is None else in_float64(near.exported.module(check_guards=False))
    of_near = {} if near is None or other is None else _names_in_near(program, near, other)
    batch = program.spec.inputs[0].shape[0]
    for start in range(0, len(inputs[0]) - batch + 1, batch):
        feed = [torch.from_numpy(np.ascontiguousarray(a[start : start + batch])) for a in inputs]
        wide = [t.double() if t.is_floating_point() else t for t in feed]
        with torch.no_grad():
            in_floats = _recorded(Interpreter, floats, feed, made)
            by_reference = _recorded(Dividing, exact, wide, values)
            in_float32 = _recorded(Interpreter, plain, feed, values)
            there = {row.layer.name: of_near[row.made] for row in rows} if of_near else {}
            by_near = by_reference if other is None else _recorded(Dividing, other, wide, there)
        yield {
            row.layer.name: LayerValues(
                in_floats[row.layer.name], by_reference[row.layer.name], in_float32[row.layer.name],
                by_near[row.layer.name] if other is None else _stepped(by_near[row.layer.name], row, program),
            )
            for row in rows
        }  # fmt: skip


def _names_in_near(program: Program, near: Program, module: GraphModule) -> dict[str, str]:
    """The names that the layers of `program` have in the module of a program near it."""
    old = _renamed(
        program.exported.graph, near.exported.graph, keep=_computes_values(program), keep_new=_computes_values(near)
    )
    new = _renamed(near.exported.graph, module.graph)
    return {name: new[other] for name, other in old.items()}


def _stepped(values: np.ndarray, row: Watched, program: Program) -> np.ndarray:
    """`values` as the integers of a quantized layer; as they are where it is float."""
    if not row.layer.step:
        return values
    quantize: Any = next(node for node in program.exported.graph.nodes if node.name == row.layer.value)
    steps = np.rint(values.astype(np.float64) / row.layer.step) + row.layer.zero
    return np.clip(steps, *quantize.args[3:5])


def _computes_values(program: Program) -> Any:
    """Whether a node of a program computes with values, not with weights only."""
    of = parameter_of(program.exported)

    def keep(node: Node) -> bool:
        value: Any = node
        while isinstance(value, Node) and value.target in _STORES:
            value = value.args[0]
        return _computes(node) and (value is node or of(value) is None)

    return keep


def _recorded(
    kind: type[Interpreter], module: GraphModule, feed: list[torch.Tensor], nodes: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """What the `nodes` (by the name that the caller gives each) of `module` give for `feed`."""
    machine = watching(kind, module, nodes.values())
    machine.run(*feed)
    return {name: machine.seen[node] for name, node in nodes.items()}


def _renamed(
    old: torch.fx.Graph, new: torch.fx.Graph, keep: Any = lambda node: True, keep_new: Any = None
) -> dict[str, str]:
    """The names that the calls of `old` have in `new`, a graph of the same calls in the same order."""
    kept = ((old, keep), (new, keep_new or keep))
    pairs = ([n for n in graph.nodes if n.op == "call_function" and those(n)] for graph, those in kept)
    return {before.name: after.name for before, after in zip(*pairs, strict=True)}


def _node_named(program: Program, row: Watched) -> str:
    return row.layer.value if row.layer.step else row.made


def _outputs(program: Program) -> list[Node]:
    output: Any = next(node for node in program.exported.graph.nodes if node.op == "output")
    return list(output.args[0])


def _computes(node: Node) -> bool:
    """Whether `node` is of the float model too."""
    measure = node.args[0] if node.target is getitem else None
    return not (node.target in NOTHING or (isinstance(measure, Node) and measure.target in MEASURES))


def _computing(graph: torch.fx.Graph) -> Iterable[Node]:
    return (n for n in graph.nodes if n.op == "call_function" and _computes(n))


def _is_silent(node: Node) -> bool:
    value = node.meta.get("val")
    return node.target in SILENT | {getitem} or not isinstance(value, torch.Tensor) or not value.is_floating_point()


def _end_of_unit(node: Node) -> Node:
    """The last node of those that formats run as one with `node`: its normalization and its activation."""
    while len(node.users) == 1 and (user := next(iter(node.users))).target in FUSED:
        node = user
    return node


def _begins(node: Node) -> bool:
    """Whether no other node has `node` in its unit."""
    before = node.all_input_nodes[0] if node.all_input_nodes else node
    return not (node.target in FUSED and before.op == "call_function" and _computes(before) and len(before.users) == 1)


def _name(node: Node, of: Any) -> tuple[str, str]:
    """The module of an op, and its name: of a layer the module's, of any other op the module's and the op's."""
    weight = node.args[1] if node.target in LAYERS else None
    while isinstance(weight, Node) and of(weight) is None and weight.op == "call_function":
        weight = weight.args[0]
    if isinstance(weight, Node) and (parameter := of(weight)) is not None:
        name = str(parameter).removesuffix(".weight")
        return name, name
    around = [entry[0] for entry in (node.meta.get("nn_module_stack") or {}).values() if entry[0]]
    return "".join(around[-1:]), ".".join((*around[-1:], _op(node)))


def _op(node: Node) -> str:
    """The op's name as torch has it: `conv2d`."""
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _spec(
    name: str, module: str, node: Node, end: Node, names: Mapping[Node, str], shape: tuple[int, ...]
) -> LayerSpec:
    axis = len(shape) - 1 if node.target is aten.linear.default or len(shape) < 3 or _is_matrix(node) else 1
    quantizes = [user for user in end.users if user.target in QUANTIZES]
    if len(quantizes) == len(end.users) > 0:
        step, zero = float(np.float32(quantizes[0].args[1])), int(quantizes[0].args[2])  # type: ignore[arg-type]
        return LayerSpec(
            name=name, op=_op(node), module=module, call=node.name, value=quantizes[0].name, shape=shape, axis=axis,
            step=step, zero=zero,
        )  # fmt: skip
    return LayerSpec(
        name=name, op=_op(node), module=module, call=node.name, value=names.get(end, ""), shape=shape, axis=axis
    )


def _is_matrix(node: Node) -> bool:
    """Whether units lie along the last axis: tokens, not images."""
    return len(node.meta["val"].shape) == 3 and node.target is not aten.conv1d.default
