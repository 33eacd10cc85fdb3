"""What a runtime made of a model: the nodes of the graph that it compiled, and the signature of each.

The file that onnxruntime saves of its optimized graph has no shapes for the values of its own layouts (NCHWc, NHWC).
They come from one run instead: each node says there what it wrote.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgekit.core.noun import Noun
from edgekit.core.price import OpSignature
from edgekit.errors import ConvertError
from edgekit.models.extras import require

Tensors = tuple[tuple[str, tuple[int, ...]], ...]
"""(dtype, shape) each; dtypes are ONNX's words: float, uint8, int64, …"""

IGNORED = frozenset(("auto_pad", "saturate", "axis", "storage_order", "ceil_mode", "activation_params"))
"""Attributes that do not change an op's time."""


class CompiledNode(Noun, frozen=True, kw_only=True):
    """A node of a compiled graph; `outputs` are what a run wrote, `signature` None if an input's shape is unknown."""

    name: str
    kind: str
    signature: OpSignature | None
    outputs: Tensors


class CompiledGraph(Noun, frozen=True, kw_only=True):
    """A form as a runtime compiled it. `model` is its graph as ONNX, big weights left out (they are on the device)."""

    form: str
    model: bytes
    nodes: tuple[CompiledNode, ...]

    @property
    def signatures(self) -> tuple[OpSignature, ...]:
        """Of all nodes, in the graph's order."""
        return tuple(node.signature or OpSignature(kind=node.kind, inputs=()) for node in self.nodes)


class Ran(Noun, frozen=True, kw_only=True):
    """A node in a run: the name that the runtime gives it, its op without domain, what it wrote."""

    name: str
    op: str
    outputs: Tensors


def compiled_graph(form: str, model: bytes, run: Sequence[Ran]) -> CompiledGraph:
    """The compiled graph that a runtime saved as `model`; `run` are its nodes in a run, in the order of running.

    A node without a name in the file is the next of its op in the run that no other node has.

    Raises: ConvertError if `model` is no ONNX; MissingExtraError.
    """
    graph = parse(model, form).graph
    known = _given(graph)
    named = {ran.name: ran for ran in run}
    taken = {node.name for node in graph.node}
    spare = [ran for ran in run if ran.name not in taken]
    nodes = []
    for node in graph.node:
        ran = named.get(node.name) or next((r for r in spare if r.op == node.op_type), None)
        if ran in spare:
            spare.remove(ran)
        outputs = ran.outputs if ran else ()
        signature = signature_of(node, known)
        known.update(zip((name for name in node.output if name), outputs, strict=False))
        name = ran.name if ran else node.name
        nodes.append(CompiledNode(name=name, kind=kind_of(node), signature=signature, outputs=outputs))
    return CompiledGraph(form=form, model=model, nodes=tuple(nodes))


def signature_of(node: Any, known: Mapping[str, tuple[str, tuple[int, ...]]]) -> OpSignature | None:
    """The signature of an ONNX node whose inputs are `known`; None if one of them is not.

    It is the kind, (dtype, shape) of each input of more than one element, and the attributes but those of `IGNORED`.
    """
    names = [name for name in node.input if name]
    if not all(name in known for name in names):
        return None
    inputs = tuple(known[name] for name in names if any(size != 1 for size in known[name][1]))
    attributes = tuple(sorted((a.name, _text(a)) for a in node.attribute if a.name not in IGNORED))
    return OpSignature(kind=kind_of(node), inputs=inputs, attributes=attributes)


def kind_of(node: Any) -> str:
    """The op's name, with its domain in front unless that is ONNX's own: `Conv`, `com.microsoft.nchwc.Conv`."""
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def count_kinds(nodes: Iterable[CompiledNode]) -> Counter[str]:
    """How many nodes there are of each kind: int8 layers that a runtime runs as float show here.

    >>> count_kinds([CompiledNode(name="a", kind="QLinearConv", signature=None, outputs=())])
    Counter({'QLinearConv': 1})
    """
    return Counter(node.kind for node in nodes)


def float_convolutions(nodes: Iterable[CompiledNode]) -> int:
    """How many convolutions and matrix products run in float.

    >>> float_convolutions([CompiledNode(name="a", kind="com.microsoft.FusedConv", signature=None, outputs=())])
    1
    """
    words = ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose")
    return sum(node.kind.rpartition(".")[2] in words for node in nodes)


def parse(model: bytes, where: str) -> Any:
    """`model` as an ONNX ModelProto; weights kept outside stay outside.

    Raises: ConvertError naming `where`; MissingExtraError.
    """
    onnx = require("onnx", extra="onnx")
    protobuf = require("google.protobuf.message", extra="onnx")
    try:
        return onnx.load_model_from_string(model)
    except protobuf.DecodeError as error:
        raise ConvertError(f"{where}: the compiled graph that the device sent is no ONNX: {error}") from None


def dtype_word(elem_type: int) -> str:
    """ONNX's word for a type number: 1 is `float`."""
    onnx = require("onnx", extra="onnx")
    return str(onnx.TensorProto.DataType.Name(elem_type)).lower()


def _given(graph: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """(dtype, shape) of the graph's inputs and weights. A size that is not fixed counts as 1."""
    known = {
        value.name: (
            dtype_word(value.type.tensor_type.elem_type),
            tuple(max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim),
        )
        for value in graph.input
    }
    known.update({i.name: (dtype_word(i.data_type), tuple(i.dims)) for i in graph.initializer})
    return known


def _text(attribute: Any) -> str:
    """An attribute's value as text.

    >>> import onnx
    >>> _text(onnx.helper.make_attribute("pads", [1, 1])), _text(onnx.helper.make_attribute("a", b"Relu"))
    ('1,1', 'Relu')
    """
    onnx = require("onnx", extra="onnx")
    if attribute.HasField("g") or attribute.graphs:
        return f"graph of {len(attribute.g.node)} nodes"
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, onnx.TensorProto):
        return f"{dtype_word(value.data_type)} {list(value.dims)}"
    return ",".join(v.decode(errors="replace") if isinstance(v, bytes) else f"{v:g}" for v in value)
