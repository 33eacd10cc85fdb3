"""What the passes over a lowered file share: where a value comes from, constants, and removing what is unused."""

import numpy as np
import onnx_ir as ir


def made_by(value: ir.Value | None, *kinds: str) -> ir.Node | None:
    """The node that makes `value`, if it is of one of these kinds."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in kinds else None


def readers(value: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes that read `value`."""
    return tuple(dict.fromkeys(use.node for use in value.uses()))


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The values of a constant; None if `value` is computed."""
    return None if value is None or value.const_value is None else value.const_value.numpy()


def same_constant(one: ir.Value | None, other: ir.Value | None) -> bool:
    """Whether both are constants of one type with equal values."""
    a, b = constant(one), constant(other)
    return a is not None and b is not None and a.dtype == b.dtype and np.array_equal(a, b)


def add_constant_(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """The initializer `name` with the values of `array`, made if it is not there."""
    if name not in graph.initializers:
        tensor = ir.tensor(array, name=name)
        kind = ir.TensorType(tensor.dtype)
        graph.register_initializer(ir.Value(name=name, shape=tensor.shape, type=kind, const_value=tensor))
    return graph.initializers[name]


def insert_behind_(place: ir.Node, kind: str, inputs: list[ir.Value | None], name: str, **attributes: int) -> ir.Value:
    """The output, called `name`, of a new node right behind `place`."""
    node = ir.node(kind, inputs, attributes, name=name)
    node.outputs[0].name = name
    graph = place.graph
    assert graph is not None  # a node of a file is in a graph
    graph.insert_after(place, node)
    return node.outputs[0]


def insert_before_(
    place: ir.Node, kind: str, inputs: list[ir.Value | None], name: str, *, domain: str = "", **attributes: object
) -> ir.Value:
    """The output, called `name`, of a new node right in front of `place`."""
    node = ir.node(kind, inputs, attributes, name=name, domain=domain)  # type: ignore[arg-type]
    node.outputs[0].name = name
    graph = place.graph
    assert graph is not None  # a node of a file is in a graph
    graph.insert_before(place, node)
    return node.outputs[0]


def take_place_(node: ir.Node, value: ir.Value) -> None:
    """`value`, made in front of `node`, is what `node` gave: it has its name and its readers, and the node goes."""
    graph, old = node.graph, node.outputs[0]
    assert graph is not None  # a node of a file is in a graph
    value.shape, value.type = old.shape, old.type
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, value)
    for i, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[i] = value
    name = old.name
    graph.remove(node, safe=True)
    value.name = name


def scale_and_zero(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    """The scale and the zero point of a quantize or dequantize."""
    return node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None


def same_grid(one: ir.Node, other: ir.Node) -> bool:
    """Whether two q/dq nodes have the same scale and zero point."""
    return all(same_constant(a, b) for a, b in zip(scale_and_zero(one), scale_and_zero(other), strict=True))


def drop_unused_(model: ir.Model) -> ir.Model:
    """Removes nodes and initializers that nothing reads."""
    graph = model.graph
    outputs = set(graph.outputs)
    for node in reversed(list(graph)):
        if not any(value.uses() or value in outputs for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del graph.initializers[name]
    return model
