"""Ops of ML programs that weigh or gather over a neighbourhood: convolutions, products, pools, norms, attention."""

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekit.formats.mil.arguments import Arguments, Kernel, along, flag, int_or, ints, ints_or, many, number_or

_CONV = (F.conv1d, F.conv2d, F.conv3d)
_CONV_TRANSPOSE = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_MAX_POOL = (F.max_pool1d, F.max_pool2d, F.max_pool3d)


def _pads(args: Arguments, sizes: list[int], kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    """What is put before and after each axis, as pad_type says."""
    kind = str(args.get("pad_type", "valid"))
    if kind == "custom":
        return ints(args["pad"])
    if kind == "valid":
        return [0] * (2 * len(kernel))
    pads = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        small, large = total // 2, total - total // 2
        pads += [small, large] if kind == "same" else [large, small]
    return pads


def _padded(x: Tensor, pads: list[int], fill: float = 0.0) -> Tensor:
    if not any(pads):
        return x
    last_first = [pads[j] for axis in reversed(range(len(pads) // 2)) for j in (2 * axis, 2 * axis + 1)]
    return F.pad(x, last_first, value=fill)


def _conv(args: Arguments) -> Tensor:
    x, weight = args["x"], args["weight"]
    rank = weight.ndim - 2
    strides, dilations = ints_or(args, "strides", [1] * rank), ints_or(args, "dilations", [1] * rank)
    pads = _pads(args, list(x.shape[2:]), list(weight.shape[2:]), strides, dilations)
    before: int | list[int] = 0
    if pads[::2] == pads[1::2]:
        before = pads[::2]
    else:
        x = _padded(x, pads)
    groups = int_or(args, "groups", 1)
    return _CONV[rank - 1](x, weight, args.get("bias"), strides, before, dilations, groups)


def _conv_transpose(args: Arguments) -> Tensor:
    """The whole product, cut (or filled with zeros) to what pads and output_shape leave of it."""
    x, weight = args["x"], args["weight"]
    rank = weight.ndim - 2
    strides, dilations = ints_or(args, "strides", [1] * rank), ints_or(args, "dilations", [1] * rank)
    whole = _CONV_TRANSPOSE[rank - 1](x, weight, None, strides, 0, 0, int_or(args, "groups", 1), dilations)
    found, same = list(whole.shape[2:]), str(args.get("pad_type", "valid")) == "same"
    if same:
        lost = [max(size - n * s, 0) for size, n, s in zip(found, x.shape[2:], strides, strict=True)]
        pads = [part for total in lost for part in (total // 2, total - total // 2)]
    else:
        pads = ints(args["pad"]) if str(args.get("pad_type", "valid")) == "custom" else [0] * (2 * rank)
    sizes = [size - pads[2 * i] - pads[2 * i + 1] for i, size in enumerate(found)]
    if "output_shape" in args:
        sizes = ints(args["output_shape"])[-rank:]
    for i, size in enumerate(sizes):
        start, axis = pads[2 * i], i + 2
        if (missing := start + size - whole.shape[axis]) > 0:
            whole = F.pad(whole, [0, 0] * (rank - 1 - i) + [0, missing])
        whole = whole.narrow(axis, start, size)
    return whole if "bias" not in args else whole + along(args["bias"], 1, whole.ndim)


def _window(args: Arguments) -> tuple[list[int], list[int], list[int]]:
    """A pool's kernel, strides and pads; with ceil_mode the pads reach as far as the last window does."""
    kernel = ints(args["kernel_sizes"])
    strides, sizes = ints_or(args, "strides", [1] * len(kernel)), list(args["x"].shape[2:])
    pads = _pads(args, sizes, kernel, strides, [1] * len(kernel))
    if not flag(args, "ceil_mode"):
        return kernel, strides, pads
    for i, (size, k, s) in enumerate(zip(sizes, kernel, strides, strict=True)):
        room = size + pads[2 * i] + pads[2 * i + 1] - k
        count = -(-room // s)
        if count * s >= size + pads[2 * i]:
            count -= 1
        pads[2 * i + 1] += max(count * s - room, 0)
    return kernel, strides, pads


def _max_pool(args: Arguments) -> Tensor:
    kernel, strides, pads = _window(args)
    return _MAX_POOL[len(kernel) - 1](_padded(args["x"], pads, float("-inf")), kernel, strides)


def _sum_pool(x: Tensor, kernel: list[int], strides: list[int]) -> Tensor:
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    return pool(x, kernel, strides) * prod(kernel)


def _avg_pool(args: Arguments) -> Tensor:
    """Padding counts, as far as the file pads: what ceil_mode adds beyond never does."""
    x, (kernel, strides, pads) = args["x"], _window(args)
    plain = _pads(args, list(x.shape[2:]), kernel, strides, [1] * len(kernel))
    beyond = [a - b for a, b in zip(pads, plain, strict=True)]
    ones = torch.ones_like(x[:1, :1])
    if flag(args, "exclude_padding_from_average"):
        counted = _padded(ones, pads)
    else:
        counted = _padded(_padded(ones, plain, 1.0), beyond)
    return _sum_pool(_padded(x, pads), kernel, strides) / _sum_pool(counted, kernel, strides)


def _l2_pool(args: Arguments) -> Tensor:
    kernel, strides, pads = _window(args)
    return torch.sqrt(_sum_pool(_padded(args["x"] ** 2, pads), kernel, strides))


def _linear(args: Arguments) -> Tensor:
    return F.linear(args["x"], args["weight"], args.get("bias"))


def _matmul(args: Arguments) -> Tensor:
    x = args["x"].transpose(-1, -2) if flag(args, "transpose_x") else args["x"]
    y = args["y"].transpose(-1, -2) if flag(args, "transpose_y") else args["y"]
    return torch.matmul(x, y)


def _einsum(args: Arguments) -> Tensor:
    return torch.einsum(str(args["equation"]), *many(args["values"]))


def _batch_norm(args: Arguments) -> Tensor:
    known = (args["mean"], args["variance"], args.get("gamma"), args.get("beta"))
    return F.batch_norm(args["x"], *known, eps=number_or(args, "epsilon", 1e-5))


def _instance_norm(args: Arguments) -> Tensor:
    epsilon = number_or(args, "epsilon", 1e-5)
    return F.instance_norm(args["x"], weight=args.get("gamma"), bias=args.get("beta"), eps=epsilon)


def _layer_norm(args: Arguments) -> Tensor:
    x = args["x"]
    axes = sorted(a % x.ndim for a in ints_or(args, "axes", list(range(x.ndim))))
    centred = x - x.mean(axes, keepdim=True)
    y = centred / torch.sqrt((centred**2).mean(axes, keepdim=True) + number_or(args, "epsilon", 1e-5))
    shape = [size if i in axes else 1 for i, size in enumerate(x.shape)]
    y = y * args["gamma"].reshape(shape) if "gamma" in args else y
    return y + args["beta"].reshape(shape) if "beta" in args else y


def _l2_norm(args: Arguments) -> Tensor:
    x = args["x"]
    return x / torch.sqrt((x**2).sum((-3, -2, -1), keepdim=True) + number_or(args, "epsilon", 1e-6))


def _local_response_norm(args: Arguments) -> Tensor:
    alpha, beta, k = (number_or(args, n, d) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("k", 1.0)))
    return F.local_response_norm(args["x"], int(args["size"]), alpha, beta, k)


def _attention(args: Arguments) -> Tensor:
    mask = args.get("attn_mask")
    return F.scaled_dot_product_attention(args["query"], args["key"], args["value"], attn_mask=mask)


def _reduce(function: Callable[..., Tensor]) -> Kernel:
    def kernel(args: Arguments) -> Tensor:
        axes = ints_or(args, "axes", list(range(args["x"].ndim)))
        return function(args["x"], dim=axes, keepdim=flag(args, "keep_dims"))

    return kernel


def _product(x: Tensor, dim: list[int], *, keepdim: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in dim), reverse=True):
        x = x.prod(axis, keepdim=keepdim)
    return x


def _place(function: Callable[..., Tensor]) -> Kernel:
    return lambda args: function(args["x"], dim=int_or(args, "axis", -1), keepdim=flag(args, "keep_dims"))


LAYERS: dict[str, Kernel] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "max_pool": _max_pool, "avg_pool": _avg_pool, "l2_pool": _l2_pool,
    "linear": _linear, "matmul": _matmul, "einsum": _einsum, "batch_norm": _batch_norm, "layer_norm": _layer_norm,
    "instance_norm": _instance_norm, "l2_norm": _l2_norm, "local_response_norm": _local_response_norm,
    "scaled_dot_product_attention": _attention, "reduce_mean": _reduce(torch.mean), "reduce_sum": _reduce(torch.sum),
    "reduce_max": _reduce(torch.amax), "reduce_min": _reduce(torch.amin), "reduce_prod": _reduce(_product),
    "reduce_log_sum_exp": _reduce(torch.logsumexp),
    "reduce_log_sum": _reduce(lambda x, **how: torch.log(torch.sum(x, **how))),
    "reduce_sum_square": _reduce(lambda x, **how: torch.sum(x**2, **how)),
    "reduce_l1_norm": _reduce(lambda x, **how: torch.sum(x.abs(), **how)),
    "reduce_l2_norm": _reduce(lambda x, **how: torch.sqrt(torch.sum(x**2, **how))),
    "reduce_argmax": _place(torch.argmax), "reduce_argmin": _place(torch.argmin),
}  # fmt: skip
