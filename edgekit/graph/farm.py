"""Files of one op, cut from compiled graphs, for a device to time: the op once, and the op nine times.

The difference of the two, over eight, is the op alone. Each output is read by a Shape, so that the runtime frees and
uses its buffer again as it does in the whole model: with outputs left over, buffers stay cold and an op that only
moves data takes 1.7 times as long. An op's file takes its weights from those that the device saved beside the
compiled graph, and its activations from a run of that graph: real ones, since some kernels' time depends on them.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from edgekit.core.noun import Noun
from edgekit.core.price import OpSignature
from edgekit.graph.signatures import CompiledGraph, parse

COPIES = 9


class OpFile(Noun, frozen=True, kw_only=True):
    """One op of a compiled graph as two ONNX files; `inputs` names the activations that both take."""

    signature: OpSignature
    once: bytes
    often: bytes
    inputs: tuple[str, ...]


class Farm(Noun, frozen=True, kw_only=True):
    """The files cut from one compiled graph; `capture` is that graph, its outputs the activations that they take."""

    form: str
    capture: bytes
    ops: tuple[OpFile, ...]


def farms(compiled: Sequence[CompiledGraph], wanted: Iterable[OpSignature]) -> tuple[Farm, ...]:
    """Files for the `wanted` signatures, each cut from the first graph that has it. Those in none are left out.

    Raises: ConvertError if a graph cannot be read; MissingExtraError.
    """
    left = dict.fromkeys(wanted)
    made = []
    for graph in compiled:
        places: dict[OpSignature, int] = {}
        for i, node in enumerate(graph.nodes):
            if node.signature is not None and node.signature in left and node.signature not in places:
                places[node.signature] = i
        if places:
            made.append(_farm(graph, places))
            for signature in places:
                del left[signature]
    return tuple(made)


def _farm(graph: CompiledGraph, places: dict[OpSignature, int]) -> Farm:
    model = parse(graph.model, graph.form)
    types = _types(graph, model)
    ops = []
    for signature, place in places.items():
        node = model.graph.node[place]
        inputs = tuple(dict.fromkeys(name for name in node.input if name in types))
        once, often = (_op_file(model, node, inputs, types, copies) for copies in (1, COPIES))
        ops.append(OpFile(signature=signature, once=once, often=often, inputs=inputs))
    captured = dict.fromkeys(name for op in ops for name in op.inputs)
    return Farm(form=graph.form, capture=_capture(model, captured, types), ops=tuple(ops))


def _types(graph: CompiledGraph, model: Any) -> dict[str, Any]:
    """A value_info for each activation: the graph's inputs, and what its nodes wrote in a run."""
    from onnx import TensorProto, helper

    weights = {i.name for i in model.graph.initializer}
    types = {value.name: value for value in model.graph.input if value.name not in weights}
    for node, compiled in zip(model.graph.node, graph.nodes, strict=True):
        for name, (dtype, shape) in zip((n for n in node.output if n), compiled.outputs, strict=False):
            types[name] = helper.make_tensor_value_info(name, TensorProto.DataType.Value(dtype.upper()), shape)
    return types


def _op_file(model: Any, node: Any, inputs: tuple[str, ...], types: dict[str, Any], copies: int) -> bytes:
    """`node` `copies` times, all on the same inputs, each output read by a Shape."""
    from onnx import NodeProto, TensorProto, helper

    nodes, outputs = [], []
    for copy in range(copies):
        one = NodeProto()
        one.CopyFrom(node)
        one.name = f"op_{copy}"
        one.output[:] = [f"{name}_{copy}" if name else "" for name in node.output]
        nodes.append(one)
        for name in filter(None, one.output):
            nodes.append(helper.make_node("Shape", [name], [f"shape_{name}"], name=f"shape_{name}"))
            outputs.append(helper.make_tensor_value_info(f"shape_{name}", TensorProto.INT64, None))
    used = set(node.input)
    weights = [i for i in model.graph.initializer if i.name in used]
    graph = helper.make_graph(nodes, "op", [types[name] for name in inputs], outputs, weights)
    return _serialised(graph, model)


def _capture(model: Any, wanted: Iterable[str], types: dict[str, Any]) -> bytes:
    """`model` with the `wanted` activations as its outputs; its own outputs if they are all inputs of the model."""
    from onnx import ModelProto

    changed = ModelProto()
    changed.CopyFrom(model)
    given = {value.name for value in model.graph.input}
    outputs = [types[name] for name in wanted if name not in given]
    if outputs:
        del changed.graph.output[:]
        changed.graph.output.extend(outputs)
    del changed.graph.value_info[:]
    return bytes(changed.SerializeToString())


def _serialised(graph: Any, model: Any) -> bytes:
    from onnx import helper

    made = helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)
    return bytes(made.SerializeToString())
