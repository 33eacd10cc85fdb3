"""What each kind of op does to channel numbers (trace.py)."""

from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.compress.channels import none_of, squeezed
from edgekit.compress.products import attention, matmul
from edgekit.compress.trace import Rule, Trace, argument, keep_all_of, module_of, place_of, spread

aten = torch.ops.aten
CONVOLUTIONS = frozenset(
    getattr(getattr(aten, f"conv{n}d"), form) for n in (1, 2, 3) for form in ("default", "padding")
)
TRANSPOSED = frozenset((aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input))
LINEAR = aten.linear.default
MOVES = frozenset((
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.permute.default, aten.transpose.int,
    aten.t.default, aten.flatten.using_ints, aten.unflatten.int, aten.squeeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.unsqueeze.default, aten.expand.default, aten.expand_as.default, aten.view_as.default,
    aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.narrow.default, aten.repeat.default,
    aten.pixel_shuffle.default, aten.pixel_unshuffle.default, aten.channel_shuffle.default, aten.flip.default,
    aten.movedim.int, aten.swapaxes.default, aten.stack.default, aten.repeat_interleave.self_int,
))  # fmt: skip
"""Ops that only move values: run on the numbers themselves."""
PICKS = {aten.select.int: 1, aten.slice.Tensor: 1, aten.unbind.int: 1, aten.roll.default: 2}
"""Ops that move values by position along the dimension in this argument."""
SAME = frozenset((
    aten.contiguous.default, aten.clone.default, aten.alias.default, aten.detach.default, aten.dropout.default,
    aten.dropout_.default, aten.to.dtype, aten.to.dtype_layout, aten.hardswish.default, aten.hardswish_.default,
    aten.relu6.default, aten.relu6_.default, aten.selu.default, aten.feature_dropout.default,
    aten.lift_fresh_copy.default, aten.alpha_dropout.default, aten.type_as.default, aten._to_copy.default,
))  # fmt: skip
"""Ops over one value, element by element, that torch does not tag as such."""
SPATIAL = frozenset((
    aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default, aten.avg_pool1d.default,
    aten.avg_pool2d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default, aten.adaptive_max_pool2d.default,
    aten.max_pool2d_with_indices.default, aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default,
    aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default, aten.upsample_nearest1d.vec,
    aten.upsample_bicubic2d.vec, aten.reflection_pad2d.default, aten.replication_pad2d.default,
))  # fmt: skip
"""Ops that treat each channel by itself and mix positions from dimension 2 on."""
REDUCTIONS = {
    aten.mean.dim: 1, aten.sum.dim_IntList: 1, aten.amax.default: 1, aten.amin.default: 1, aten.max.dim: 1,
    aten.min.dim: 1, aten.var.correction: 1, aten.std.correction: 1, aten.softmax.int: 1, aten.log_softmax.int: 1,
    aten.cumsum.default: 1, aten.linalg_vector_norm.default: 2, aten.argmax.default: 1,
}  # fmt: skip
"""Ops that mix all positions along the dimensions in this argument."""
KEEPS_SHAPE = frozenset((aten.softmax.int, aten.log_softmax.int, aten.cumsum.default))
PADS = frozenset((aten.pad.default, aten.constant_pad_nd.default))


def rule_for(node: Node, module: GraphModule) -> Rule:
    """The rule of a node; an op without one keeps the channels that it takes."""
    if isinstance(module_of(node, module), _BatchNorm):
        return _batch_norm
    target: Any = node.target
    if target in _RULES:
        return _RULES[target]
    if torch.Tag.pointwise in getattr(target, "tags", ()):
        return _pointwise
    return keep_all_of


def _layer_name(weight: Node) -> str:
    return str(weight.target).removesuffix(".weight")


def _is_parameter(value: Any) -> bool:
    return isinstance(value, Node) and value.op == "get_attr"


def _convolution(trace: Trace, node: Node) -> Tensor:
    weight, bias = argument(node, 1), argument(node, 2)
    groups = int(argument(node, 6))
    if not _is_parameter(weight) or not (bias is None or _is_parameter(bias)):
        return keep_all_of(trace, node)
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    taken = trace.along(value, 1)
    if groups > 1:
        made = _grouped(trace, node, weight, taken, groups)
    else:
        reads, writes = (0, 1) if node.target in TRANSPOSED else (1, 0)
        trace.store(str(weight.target), reads, taken, "reads", _layer_name(weight))
        made = trace.store(str(weight.target), writes, None, "writes", _layer_name(weight))
    if bias is not None:
        trace.store(str(bias.target), 0, made, "follows", _layer_name(weight))
    return spread(made, trace.shape(node), 1)


def _grouped(trace: Trace, node: Node, weight: Node, taken: Tensor, groups: int) -> Tensor:
    """Depthwise: channels go through. Otherwise a channel is cut at the same place of every group."""
    shape, name = trace.tensor(str(weight.target)).shape, _layer_name(weight)
    if node.target not in TRANSPOSED and shape[1] == 1:
        return trace.store(str(weight.target), 0, taken.repeat_interleave(shape[0] // groups), "follows", name)
    if node.target in TRANSPOSED:
        trace.channels.keep(taken, f"go into a grouped {place_of(node)}")
        made = trace.channels.fresh(trace.shape(node)[1])
        trace.channels.keep(made, f"come out of a grouped {place_of(node)}")
        return made
    inside = taken.reshape(groups, -1)
    for group in inside[1:]:
        trace.channels.tie(inside[0], group, f"lie in groups beside values without channels ({name})")
    trace.store(str(weight.target), 1, inside[0], "reads", name)
    made = trace.store(str(weight.target), 0, None, "writes", name)
    outside = made.reshape(groups, -1)
    for group in outside[1:]:
        trace.channels.tie(outside[0], group, "")
    return made


def _linear(trace: Trace, node: Node) -> Tensor:
    weight, bias = argument(node, 1), argument(node, 2)
    if not _is_parameter(weight) or not (bias is None or _is_parameter(bias)):
        return keep_all_of(trace, node)
    trace.store(str(weight.target), 1, trace.along(trace.number(node.args[0]), -1), "reads", _layer_name(weight))  # type: ignore[arg-type]
    made = trace.store(str(weight.target), 0, None, "writes", _layer_name(weight))
    if bias is not None:
        trace.store(str(bias.target), 0, made, "follows", _layer_name(weight))
    return spread(made, trace.shape(node), -1)


def _embedding(trace: Trace, node: Node) -> Tensor:
    weight = argument(node, 0)
    if not _is_parameter(weight):
        return keep_all_of(trace, node)
    return spread(trace.store(str(weight.target), 1, None, "follows", _layer_name(weight)), trace.shape(node), -1)


def _batch_norm(trace: Trace, node: Node) -> Tensor:
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    made = trace.along(value, 1)
    if node.op == "call_module":
        norm: Any = module_of(node, trace.module)
        names = ["running_mean", "running_var"] + (["weight", "bias"] if norm.affine else [])
        for name in names:
            made = trace.store(f"{node.target}.{name}", 0, made, "follows")
    else:
        for source in node.args[1:5]:
            if isinstance(source, Node):
                made = trace.store(str(source.target), 0, made, "follows")
    return spread(made, tuple(value.shape), 1)


def _prelu(trace: Trace, node: Node) -> Tensor:
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    weight: Any = node.args[1]
    if not _is_parameter(weight):
        return keep_all_of(trace, node)
    if trace.tensor(str(weight.target)).numel() > 1:
        trace.store(str(weight.target), 0, trace.along(value, 1), "follows")
    return value


def _same(trace: Trace, node: Node) -> Any:
    return trace.number(node.all_input_nodes[0])


def _move(trace: Trace, node: Node) -> Any:
    args, kwargs = trace.arguments(node)
    return run_move(node.target, args, kwargs)


def run_move(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A moving op on numbers, whose strides need not be those of the values."""
    if target in (aten.view.default, aten._unsafe_view.default):
        target = aten.reshape.default
    if target is aten.view_as.default:
        return args[0].reshape(args[1].shape)
    return target(*args, **kwargs)


def _pick(trace: Trace, node: Node) -> Any:
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    dims = argument(node, PICKS[node.target])  # type: ignore[index]
    plain_slice = node.target is aten.slice.Tensor and argument(node, 4) == 1
    for dim in dims if isinstance(dims, tuple | list) else (dims,):
        if not plain_slice:
            trace.pick(value, dim, f"are picked by position ({place_of(node)})")
    return _move(trace, node)


def _cat(trace: Trace, node: Node) -> Tensor:
    values: Any = trace.arguments(node)[0][0]
    dim = int(argument(node, 1)) % len(trace.shape(node))
    values = [v for v in values if v.dim() == len(trace.shape(node))]
    same = [d for d in range(values[0].dim()) if d != dim and all(v.stride(d) == 0 or v.shape[d] == 1 for v in values)]
    for d in same:
        values = [v.narrow(d, 0, 1) for v in values]
    return torch.cat([squeezed_copy(v) for v in values], dim).expand(trace.shape(node))


def squeezed_copy(value: Tensor) -> Tensor:
    """`value` with memory of its own, so that torch.cat gives strides that mean something."""
    return value.contiguous()


def _pointwise(trace: Trace, node: Node) -> Tensor:
    return _meet(trace, node, [v for v in trace.inputs(node) if v.dim() > 0])


def _meet(trace: Trace, node: Node, values: list[Tensor]) -> Tensor:
    """Values that meet element by element: what is at one position is cut together.

    A value that is the same for all channels of another (a gate, a mask) takes no part, and is kept.
    """
    shape = trace.shape(node)
    wide = [v.expand(shape) for v in values]
    across = [d for d in range(len(shape)) if any(trace.channels.varies(w, d) for w in wide)]
    taking = []
    for value, own in zip(values, wide, strict=True):
        sizes = (1,) * (len(shape) - value.dim()) + tuple(value.shape)
        if any(sizes[d] < shape[d] for d in across):
            trace.channels.keep(squeezed(own), f"act on all channels at once ({place_of(node)})")
        else:
            taking.append(own)
    if not taking:
        return none_of(shape)
    same = [d for d in range(len(shape)) if all(v.stride(d) == 0 for v in taking)]
    narrow = taking
    for d in same:
        narrow = [v.narrow(d, 0, 1) for v in narrow]
    for other in narrow[1:]:
        trace.channels.tie(narrow[0], other, f"meet values without channels ({place_of(node)})")
    return max(taking, key=lambda v: sum(stride == 0 for stride in v.stride()) * int(bool(squeezed(v).any())))


def _spatial(trace: Trace, node: Node) -> Any:
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    dims = range(2, value.dim())
    if any(trace.channels.varies(value, d) for d in dims):
        trace.channels.keep(squeezed(value), f"are mixed by {place_of(node)}")
    for d in dims:
        value = value.narrow(d, 0, 1)
    made = value.expand(trace.shape(node))
    return (made, none_of(trace.shape(node))) if isinstance(trace.results[node], tuple | list) else made


def _pad(trace: Trace, node: Node) -> Tensor:
    """Padding of positions changes nothing; padded channels are new ones, free to be cut with what meets them."""
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    pads: Any = node.args[1]
    for index in range(0, len(pads), 2):
        dim, (before, after) = value.dim() - 1 - index // 2, pads[index : index + 2]
        if (before, after) == (0, 0):
            continue
        if not trace.channels.varies(value, dim) and squeezed(value).shape[dim] == 1:
            shape = list(value.shape)
            shape[dim] += before + after
            value = value.narrow(dim, 0, 1).expand(shape)
        elif min(before, after) < 0 or _fills(node):
            trace.channels.keep(squeezed(value), f"are padded by {place_of(node)}")
            return none_of(trace.shape(node))
        else:
            value = _pad_channels(trace, value, dim, before, after)
    return value


def _fills(node: Node) -> bool:
    """Whether padding fills with anything but zeros."""
    if node.target is aten.pad.default:
        return argument(node, 2) != "constant" or bool(argument(node, 3))
    return bool(argument(node, 2))


def _pad_channels(trace: Trace, value: Tensor, dim: int, before: int, after: int) -> Tensor:
    small = squeezed(value, keep=(dim,))
    ends = []
    for count in (before, after):
        shape = [count if d == dim else 1 for d in range(value.dim())]
        ends.append(
            trace.channels.fresh(count).reshape(shape).expand([*small.shape[:dim], count, *small.shape[dim + 1 :]])
        )
    made = torch.cat([ends[0], small, ends[1]], dim)
    return made.expand([made.shape[d] if d == dim else value.shape[d] for d in range(value.dim())])


def _reduction(trace: Trace, node: Node) -> Any:
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    dims = argument(node, REDUCTIONS[node.target])  # type: ignore[index]
    dims = range(value.dim()) if dims is None or dims == [] else dims if isinstance(dims, tuple | list) else (dims,)
    dims = sorted({d % value.dim() for d in dims}, reverse=True)
    if any(trace.channels.varies(value, d) for d in dims):
        trace.channels.keep(squeezed(value), f"are mixed by {place_of(node)}")
    if node.target in KEEPS_SHAPE:
        return value
    keeps_dim = len(trace.shape(node)) == value.dim()
    for d in dims:
        value = value.narrow(d, 0, 1) if keeps_dim else value.select(d, 0)
    return (value, none_of(trace.shape(node))) if isinstance(trace.results[node], tuple | list) else value


def _layer_norm(trace: Trace, node: Node) -> Tensor:
    """LayerNorm over dimensions without channels changes nothing; over channels it mixes them."""
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    if any(trace.channels.varies(value, -1 - d) for d in range(len(node.args[1]))):  # type: ignore[arg-type]
        trace.channels.keep(squeezed(value), f"are normalised together by {place_of(node)}")
    return value


def _glu(trace: Trace, node: Node) -> Tensor:
    value = trace.number(node.args[0])  # type: ignore[arg-type]
    one, gate = value.chunk(2, int(argument(node, 1)))
    trace.channels.tie(squeezed_copy(one), squeezed_copy(gate), f"meet values without channels ({place_of(node)})")
    return one


def _item(trace: Trace, node: Node) -> Any:
    source, index = node.args
    value = trace.values[source]  # type: ignore[index]
    return value[index]


_RULES: dict[Any, Rule] = {
    **dict.fromkeys(CONVOLUTIONS | TRANSPOSED, _convolution),
    **dict.fromkeys(MOVES, _move),
    **dict.fromkeys(PICKS, _pick),
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(SPATIAL, _spatial),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(PADS, _pad),
    LINEAR: _linear,
    aten.embedding.default: _embedding,
    aten.batch_norm.default: _batch_norm,
    aten.prelu.default: _prelu,
    aten.cat.default: _cat,
    aten.layer_norm.default: _layer_norm,
    aten.rms_norm.default: _layer_norm,
    aten.glu.default: _glu,
    aten.matmul.default: matmul,
    aten.bmm.default: matmul,
    aten.scaled_dot_product_attention.default: attention,
    getitem: _item,
}  # fmt: skip
