"""Channels taken out of a model for good: parameters sliced, and the sizes written in its graph made to fit."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torch.nn.modules.batchnorm import _BatchNorm

from edgekit.compress.channels import squeezed
from edgekit.compress.rules import CONVOLUTIONS, MOVES, PADS, run_move
from edgekit.compress.trace import Trace, argument, place_of

aten = torch.ops.aten
SIZES = {
    aten.view.default: 1, aten.reshape.default: 1, aten._unsafe_view.default: 1, aten.expand.default: 1,
    aten.unflatten.int: 2,
}  # fmt: skip
"""Ops with a list of sizes, and the argument that it is."""
SPLITS = frozenset((aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default))
Calls = dict[str, tuple[Any, tuple[Any, ...]]]
"""By node name: the op to call instead, and its arguments."""


class CannotCutError(ValueError):
    """These channels cannot be taken out; the message says where."""


def cut(trace: Trace, keep: Tensor) -> GraphModule:
    """A copy of the traced module with only the channels whose number `keep` is true for.

    Raises: CannotCutError.
    """
    calls = new_calls(trace, keep)
    module = copy.deepcopy(trace.module)
    for slot in trace.slots.values():
        _slice_(module, slot.path, slot.dim, keep[trace.channels.roots(slot.channels)])
    by_name = {node.name: node for node in module.graph.nodes}
    for name, (target, args) in calls.items():
        node = by_name[name]
        node.target, node.kwargs = target, {}
        node.args = map_arg(args, lambda n: by_name[n.name])
    module.recompile()
    return module


def new_calls(trace: Trace, keep: Tensor) -> Calls:
    """The calls whose arguments change when only `keep` is left, each tried on the channel numbers.

    Raises: CannotCutError if a call on what is left would not give what is left of its value.
    """
    calls: Calls = {}
    for node in trace.module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target in CONVOLUTIONS and int(argument(node, 6)) > 1:
            _new_groups(trace, node, keep, calls)
        elif (node.target in MOVES or node.target in PADS or node.target is aten.slice.Tensor) and _changes(
            trace, node, keep
        ):
            target, args = _new_call(trace, node, keep)
            _check(trace, node, target, args, keep)
            calls[node.name] = (target, args)
    return calls


def left(trace: Trace, value: Any, keep: Tensor) -> Any:
    """What is left of a value's numbers.

    Raises: CannotCutError if it is no block of whole rows.
    """
    if isinstance(value, tuple | list):
        return tuple(left(trace, v, keep) for v in value)
    if not isinstance(value, Tensor):
        return value
    dims = [d for d in range(value.dim()) if _mask(trace, value, d, keep) is not None]
    if len(dims) > 1:
        raise CannotCutError("channels lie in a grid")
    for d in dims:
        mask = _mask(trace, value, d, keep)
        value = value.index_select(d, torch.nonzero(mask).flatten())  # type: ignore[arg-type]
    return value


def _mask(trace: Trace, value: Tensor, dim: int, keep: Tensor) -> Tensor | None:
    """Which positions along `dim` are left, if that is not all of them."""
    if value.stride(dim) == 0 or value.shape[dim] < 2:
        return None
    kept = keep[trace.channels.roots(squeezed(value, keep=(dim,)))].movedim(dim, 0).reshape(value.shape[dim], -1)
    if bool((kept == kept[:1]).all()):
        return None
    return kept[:, 0]


def _changes(trace: Trace, node: Node, keep: Tensor) -> bool:
    values = trace.values[node]
    every = [*(values if isinstance(values, tuple | list) else (values,)), *trace.inputs(node)]
    return any(not bool(keep[trace.channels.roots(squeezed(v))].all()) for v in every if isinstance(v, Tensor))


def _new_groups(trace: Trace, node: Node, keep: Tensor, calls: Calls) -> None:
    """A depthwise convolution has as many groups as channels are left."""
    weight: Any = node.args[1]
    if trace.tensor(str(weight.target)).shape[1] == 1:
        groups = left(trace, trace.number(node.args[0]), keep).shape[1]  # type: ignore[arg-type]
        if groups != argument(node, 6):
            calls[node.name] = (node.target, (*(argument(node, i) for i in range(6)), groups))


def _new_call(trace: Trace, node: Node, keep: Tensor) -> tuple[Any, tuple[Any, ...]]:
    target: Any = node.target
    after = left(trace, trace.values[node], keep)
    args = tuple(argument(node, i) for i in range(len(node.target._schema.arguments)))  # type: ignore[union-attr]
    if target in SIZES:
        at = SIZES[target]
        return target, (*args[:at], _sizes(node, args[at], trace.values[node], after), *args[at + 1 :])
    if target in SPLITS:
        dim = int(argument(node, 2))
        if not trace.channels.varies(trace.number(args[0]), dim):
            return target, args
        return aten.split_with_sizes.default, (args[0], [part.shape[dim] for part in after], dim)
    if target in (aten.slice.Tensor, aten.narrow.default):
        return _new_slice(trace, node, args, keep)
    if target in PADS:
        return target, (args[0], _new_pads(trace, node, keep), *args[2:])
    return target, args


def _sizes(node: Node, sizes: Any, before: Tensor, after: Tensor) -> list[Any]:
    """The sizes of a reshape or expand; one that is not a number in the graph is left to be inferred."""
    offset = int(argument(node, 1)) % before.dim() if node.target is aten.unflatten.int else 0
    made = list(sizes)
    for i, size in enumerate(sizes):
        if size == -1 or before.shape[i + offset] == after.shape[i + offset]:
            continue
        if not isinstance(size, Node):
            made[i] = after.shape[i + offset]
        elif -1 not in sizes and node.target is not aten.expand.default:
            made[i] = -1
        else:
            raise CannotCutError(f"the sizes of {place_of(node)} are computed")
    if sum(size == -1 for size in made) > 1:
        raise CannotCutError(f"the sizes of {place_of(node)} are computed")
    return made


def _new_slice(trace: Trace, node: Node, args: tuple[Any, ...], keep: Tensor) -> tuple[Any, tuple[Any, ...]]:
    value = trace.number(args[0])
    dim = int(args[1] or 0)
    mask = _mask(trace, value, dim, keep)
    if mask is None:
        return node.target, args
    if isinstance(args[2], Node) or isinstance(args[3], Node):
        raise CannotCutError(f"the bounds of {place_of(node)} are computed")
    if node.target is aten.narrow.default:
        start, end = int(args[2]), int(args[2]) + int(args[3])
    else:
        start, end, _ = slice(args[2], args[3]).indices(value.shape[dim])
    first, last = int(mask[:start].sum()), int(mask[:end].sum())
    if node.target is aten.narrow.default:
        return node.target, (args[0], dim, first, last - first)
    return node.target, (args[0], dim, first, last, 1)


def _new_pads(trace: Trace, node: Node, keep: Tensor) -> list[int]:
    value = trace.values[node]
    pads = list(node.args[1])  # type: ignore[arg-type]
    for index in range(0, len(pads), 2):
        dim = value.dim() - 1 - index // 2
        mask = _mask(trace, value, dim, keep)
        if mask is not None:
            before, after = pads[index : index + 2]
            pads[index] = int(mask[:before].sum())
            pads[index + 1] = int(mask[len(mask) - after :].sum())
    return pads


def _check(trace: Trace, node: Node, target: Any, args: tuple[Any, ...], keep: Tensor) -> None:
    """Runs the new call on the numbers that are left (a pad has made numbers of its own: its shape must be right)."""
    wanted = left(trace, trace.values[node], keep)
    given = map_arg(args, lambda n: left(trace, trace.number(n), keep))
    try:
        got = run_move(target, given, {})
    except (RuntimeError, ValueError, IndexError) as error:
        raise CannotCutError(f"{place_of(node)} does not fit what is left: {str(error).splitlines()[0]}") from None
    pairs = list(zip(got, wanted, strict=True)) if isinstance(wanted, tuple) else [(got, wanted)]
    for one, other in pairs:
        same = one.shape == other.shape and (node.target in PADS or bool(torch.equal(one, other)))
        if not same:
            raise CannotCutError(f"{place_of(node)} would mix what is left up")


def _slice_(module: nn.Module, path: str, dim: int, mask: Tensor) -> None:
    owner, _, name = path.rpartition(".")
    holder = module.get_submodule(owner)
    value = getattr(holder, name)
    if bool(mask.all()):
        return
    with torch.no_grad():
        small = value.detach().index_select(dim, torch.nonzero(mask).flatten()).contiguous()
    setattr(
        holder,
        name,
        nn.Parameter(small, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else small,
    )
    if isinstance(holder, _BatchNorm):
        holder.num_features = len(small)
