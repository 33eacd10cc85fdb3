"""edgekit's PT2E quantizer: which nodes are quantized and which values share a scale.

The rules that make the formats equal: a convolution or linear layer with the activation behind it is one unit; ops
that only move or pick values (reshape, transpose, max pooling, concatenation) share the scale of what they take;
scalar constants are left alone; softmax and sigmoid have a fixed scale; biases are not quantized here but snapped
afterwards (quantize.py). Everything that can be int8 is annotated, so that ranges and shared scales do not depend on
which layers a recipe leaves in float: those are taken out again by relax.py.
"""

from collections.abc import Iterable
from operator import getitem

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

aten = torch.ops.aten
LAYERS = frozenset((aten.conv1d.default, aten.conv2d.default, aten.conv2d.padding, aten.linear.default))
ACTIVATIONS = frozenset((
    aten.relu.default, aten.hardtanh.default, aten.relu6.default, aten.clamp.default, aten.clamp_min.default,
))  # fmt: skip
BINARIES = frozenset((
    aten.add.Tensor, aten.mul.Tensor, aten.matmul.default, aten.bmm.default,
))  # fmt: skip
MOVES = frozenset((
    aten.flatten.using_ints, aten.view.default, aten.reshape.default, aten.permute.default, aten.transpose.int,
    aten.max_pool2d.default, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default, aten.avg_pool2d.default,
    aten.slice.Tensor, aten.select.int, aten.upsample_nearest2d.vec, aten.pixel_shuffle.default, aten.pad.default,
    aten.constant_pad_nd.default, aten.clone.default, aten.contiguous.default,
))  # fmt: skip
SPLITS = frozenset((aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int))
MEANS = frozenset((aten.adaptive_avg_pool2d.default, aten.mean.dim))
JOINS = frozenset((aten.cat.default, aten.where.self))
"""Ops that put values of several makers into one: they share a scale, and no converter has one to drop."""
FIXED = frozenset((aten.softmax.int, aten.sigmoid.default))
FOLLOWERS = ACTIVATIONS | BINARIES | MOVES | SPLITS | MEANS | FIXED | JOINS | {getitem}
"""Ops that can be int8 without being a layer."""


def is_layer(node: Node) -> bool:
    """Whether `node` is a convolution or linear layer whose weight is a parameter."""
    return node.target in LAYERS and isinstance(node.args[1], Node) and node.args[1].op == "get_attr"


def layer_name(node: Node) -> str:
    """The module that owns the weight of a layer; the weight's own name where it is not called so."""
    weight = node.args[1]
    return str(weight.target if isinstance(weight, Node) else node.name).removesuffix(".weight")


class EdgekitQuantizer(Quantizer):
    """Annotates every layer, and every op between layers that int8 kernels exist for.

    `means_keep`: an average has the scale of what it takes, as a DPU's pooling has.
    """

    def __init__(self, activation: QuantizationSpec, weight: QuantizationSpec, *, means_keep: bool = False) -> None:
        super().__init__()
        self._activation, self._weight = activation, weight
        self._shares = MOVES | MEANS if means_keep else MOVES

    def annotate(self, model: GraphModule) -> GraphModule:
        """Writes the annotations; a value made by an op that is not annotated is quantized where a layer takes it."""
        for node in model.graph.nodes:
            if is_layer(node):
                self._unit_(node, (node.args[0],), {node.args[1]: self._weight})
            elif node.op == "call_function" and "quantization_annotation" not in node.meta:
                self._follower_(node)
        return model

    def validate(self, model: GraphModule) -> None:
        """Any annotation of ours is one that the formats can hold."""

    def _follower_(self, node: Node) -> None:
        takes = _values(node)
        if not takes or not all(map(_is_float_tensor, takes)) or (node.target in ACTIVATIONS and len(takes) > 1):
            return
        pair = node.target in BINARIES and len(_nodes(node.args[:2])) == 2 and node.kwargs.get("alpha", 1) == 1
        if _joins(node) or (node.target in self._shares and not _pads_with_values(node)):
            self._shared_(node, takes, (node,))
        elif pair or node.target in MEANS or node.target in ACTIVATIONS:
            self._unit_(node, takes)
        elif node.target in SPLITS:
            self._shared_(node, takes, tuple(node.users))
        elif node.target in FIXED:
            _annotate_(node, {takes[0]: self._input(takes[0])}, _fixed(self._activation))

    def _unit_(self, node: Node, takes: Iterable[Node], more: dict[Node, QuantizationSpecBase] | None = None) -> None:
        last = _activation_behind(node)
        inputs = {value: self._input(value) for value in takes} | (more or {})
        _annotate_(node, inputs, self._activation if last is node else None)
        if last is not node:
            _annotate_(last, {}, self._activation)

    def _shared_(self, node: Node, takes: Iterable[Node], makes: tuple[Node, ...]) -> None:
        first, *rest = dict.fromkeys(takes)
        shared = SharedQuantizationSpec((first, node))
        _annotate_(node, {first: self._input(first)} | dict.fromkeys(rest, shared), shared if node in makes else None)
        for value in makes:
            if value is not node:
                _annotate_(value, {}, shared)

    def _input(self, value: Node) -> QuantizationSpecBase:
        """A value has one scale: that of its maker where the maker is annotated."""
        annotation = value.meta.get("quantization_annotation")
        made = annotation is not None and annotation.output_qspec is not None
        return SharedQuantizationSpec(value) if made else self._activation


class LeftAlone(Quantizer):
    """Annotates nothing: what is prepared with it only has its BatchNorms folded."""

    def annotate(self, model: GraphModule) -> GraphModule:
        """As it is."""
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing is annotated."""


def _values(node: Node) -> tuple[Node, ...]:
    """What an op computes with: the parts of a concatenation, both sides of a where, the first two inputs else."""
    if node.target is aten.cat.default:
        return _nodes(node.args[0])
    return _nodes(node.args[1:3] if node.target is aten.where.self else node.args[:2])


def _joins(node: Node) -> bool:
    """Whether an op only puts values together; a where whose side is a parameter or as small as a number does not."""
    return node.target is aten.cat.default or (node.target is aten.where.self and len(_values(node)) == 2)


def _annotate_(node: Node, inputs: dict[Node, QuantizationSpecBase], output: QuantizationSpecBase | None) -> None:
    node.meta["quantization_annotation"] = QuantizationAnnotation(
        input_qspec_map=dict(inputs), output_qspec=output, _annotated=True
    )


def _fixed(activation: QuantizationSpec) -> QuantizationSpecBase:
    """The scale that integer softmax and sigmoid write with: 1/256 from -128 up; symmetric targets have none."""
    if activation.qscheme == torch.per_tensor_symmetric:
        return activation
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=1 / 256,
        zero_point=-128,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


def _activation_behind(node: Node) -> Node:
    """The ReLU-like node that alone takes `node`, or `node`."""
    users = list(node.users)
    alone = len(users) == 1 and users[0].target in ACTIVATIONS and len(users[0].all_input_nodes) == 1
    return users[0] if alone and node.target not in ACTIVATIONS | MEANS else node


def _pads_with_values(node: Node) -> bool:
    """A padding whose values may be none of the int8 ones: anything but zeros."""
    if node.target is aten.pad.default:
        return not (len(node.args) < 3 or (node.args[2] == "constant" and (len(node.args) < 4 or not node.args[3])))
    return node.target is aten.constant_pad_nd.default and len(node.args) > 2 and bool(node.args[2])


def _nodes(values: Iterable[object]) -> tuple[Node, ...]:
    return tuple(v for v in values if isinstance(v, Node))


def _is_float_tensor(value: Node) -> bool:
    """Whether `value` is a float tensor that is computed: parameters and scalars are no activations."""
    meta = value.meta.get("val")
    tensor = meta is None or (isinstance(meta, torch.Tensor) and meta.is_floating_point() and meta.dim() > 0)
    return tensor and value.op != "get_attr"
