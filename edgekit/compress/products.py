"""What products of two computed values do to channel numbers: matrix products and attention (trace.py)."""

import torch
from torch import Tensor
from torch.fx import Node

from edgekit.compress.channels import none_of, squeezed
from edgekit.compress.trace import Trace, argument, keep_all_of, place_of, spread


def matmul(trace: Trace, node: Node) -> Tensor:
    """The product of two computed values."""
    a, b = (trace.number(n) for n in node.args[:2])  # type: ignore[arg-type]
    return _product(trace, node, a, b, trace.shape(node))


def attention(trace: Trace, node: Node) -> Tensor:
    """softmax(q kᵀ) v: a head is cut as a whole, as the two products say."""
    q, k, v = (trace.number(n) for n in node.args[:3])  # type: ignore[arg-type]
    if q.shape[:-2] != k.shape[:-2] or (argument(node, 6) is None and not _heads_vary(trace, q)):
        for value in (q, k):
            trace.channels.keep(squeezed(value), f"set the scale of {place_of(node)}")
    scores = _product(trace, node, q, k.transpose(-1, -2), (*q.shape[:-1], k.shape[-2]))
    if trace.channels.varies(scores, -1):
        trace.channels.keep(squeezed(scores), f"are mixed by {place_of(node)}")
    mask = argument(node, 3)
    if isinstance(mask, Node):
        scores = _masked(trace, node, scores, trace.number(mask))
    return _product(trace, node, scores, v, trace.shape(node))


def _masked(trace: Trace, node: Node, scores: Tensor, mask: Tensor) -> Tensor:
    mask = mask.expand_as(scores)
    if any(mask.stride(d) == 0 and trace.channels.varies(scores, d) for d in range(scores.dim())):
        trace.channels.keep(squeezed(mask), f"act on all channels at once ({place_of(node)})")
    else:
        trace.channels.tie(scores.contiguous(), mask.contiguous(), f"meet values without channels ({place_of(node)})")
    return scores


def _heads_vary(trace: Trace, value: Tensor) -> bool:
    return any(trace.channels.varies(value, d) for d in range(value.dim() - 2))


def _product(trace: Trace, node: Node, a: Tensor, b: Tensor, shape: tuple[int, ...]) -> Tensor:
    """a @ b. Where channels lie along the batch dimensions (heads), each of these is cut as a whole.

    Else a channel that is summed over is cut on both sides, and one that is not goes on into the product.
    """
    if a.dim() < 2 or b.dim() < 2:
        return keep_all_of(trace, node)
    batch = shape[:-2]
    a, b = a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])
    heads = [d for d in range(len(batch)) if trace.channels.varies(a, d) or trace.channels.varies(b, d)]
    if heads:
        return _product_of_heads(trace, node, a, b, shape, heads)
    made = none_of(shape)
    rows, columns = trace.channels.varies(a, -2), trace.channels.varies(b, -1)
    if trace.channels.varies(a, -1) or trace.channels.varies(b, -2):
        trace.channels.tie(trace.along(a, -1), trace.along(b, -2), f"are summed over by {place_of(node)}")
    if rows and columns:
        for value in (a, b):
            trace.channels.keep(squeezed(value), f"are mixed by {place_of(node)}")
    elif rows:
        made = spread(trace.along(a, -2), shape, -2)
    elif columns:
        made = spread(trace.along(b, -1), shape, -1)
    return made


def _product_of_heads(
    trace: Trace, node: Node, a: Tensor, b: Tensor, shape: tuple[int, ...], heads: list[int]
) -> Tensor:
    firsts = []
    for whole in (a, b):
        side = squeezed(whole, keep=tuple(heads)).flatten(-2)
        trace.channels.tie(side[..., :1].expand_as(side), side, f"are mixed by {place_of(node)}")
        firsts.append(side[..., 0])
    if all(bool(first.any()) for first in firsts):
        one, other = torch.broadcast_tensors(*firsts)
        trace.channels.tie(one.contiguous(), other.contiguous(), f"meet values without channels ({place_of(node)})")
    made = next(first for first in firsts if bool(first.any()))
    return made[..., None, None].expand(shape)
