"""Ops of ML programs that move values or make them of shapes: reshape, slice, gather, pad, resize, …"""

from math import floor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgekit.formats.mil.arguments import Arguments, Kernel, flag, flags, int_or, ints, ints_or, many, number_or

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "replicate"}


def _reshape(args: Arguments) -> Tensor:
    shape = [args["x"].shape[i] if size == 0 else size for i, size in enumerate(ints(args["shape"]))]
    return args["x"].reshape(shape)


def _squeeze(args: Arguments) -> Tensor:
    return torch.squeeze(args["x"], tuple(ints(args["axes"]))) if "axes" in args else args["x"].squeeze()


def _expand_dims(args: Arguments) -> Tensor:
    x, axes = args["x"], ints(args["axes"])
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(args: Arguments) -> Tensor:
    values = [value if value.ndim else value.reshape(1) for value in many(args["values"])]
    axis = int(args["axis"]) % values[0].ndim
    if not flag(args, "interleave"):
        return torch.cat(values, axis)
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def _split(args: Arguments) -> tuple[Tensor, ...]:
    x, axis = args["x"], int(args["axis"])
    if "split_sizes" in args:
        return torch.split(x, ints(args["split_sizes"]), axis)
    return torch.split(x, x.shape[axis] // int(args["num_splits"]), axis)


def _slice_by_index(args: Arguments) -> Tensor:
    x, rank = args["x"], args["x"].ndim
    begin, end, stride = ints(args["begin"]), ints(args["end"]), ints_or(args, "stride", [1] * rank)
    no_begin, no_end, single = (flags(args, f"{name}_mask", rank) for name in ("begin", "end", "squeeze"))
    index = tuple(
        begin[a] if single[a] else slice(None if no_begin[a] else begin[a], None if no_end[a] else end[a], stride[a])
        for a in range(rank)
    )
    return torch.from_numpy(np.array(x.numpy()[index]))  # torch has no negative strides


def _slice_axis(args: Arguments) -> Tensor:
    """Of one axis; only neural networks have it."""
    x, axis = args["x"], int(args["axis"])
    part = slice(int(args["begin"]), int(args["end"]), int(args["stride"]))
    return x[(..., part, *(slice(None) for _ in range(-1 - axis)))]


def _slice_by_size(args: Arguments) -> Tensor:
    x = args["x"]
    for axis, (begin, size) in enumerate(zip(ints(args["begin"]), ints(args["size"]), strict=True)):
        x = x.narrow(axis, begin, x.shape[axis] - begin if size == -1 else size)
    return x


def _indices(args: Arguments, size: int) -> Tensor:
    indices = args["indices"].long()
    if indices.numel() and not (-size <= int(indices.min()) and int(indices.max()) < size):
        raise IndexError(f"indices from {int(indices.min())} to {int(indices.max())} of {size} values")
    return torch.where(indices < 0, indices + size, indices)


def _gather(args: Arguments) -> Tensor:
    x, axis, batch = args["x"], int_or(args, "axis", 0) % args["x"].ndim, int_or(args, "batch_dims", 0)
    indices = _indices(args, x.shape[axis])
    if batch:
        return _gather_in_batches(x, indices, axis, batch)
    return torch.index_select(x, axis, indices.reshape(-1)).reshape(
        [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    )


def _gather_in_batches(x: Tensor, indices: Tensor, axis: int, batch: int) -> Tensor:
    flat, chosen = x.flatten(0, batch - 1), indices.flatten(0, batch - 1)
    at, shape = axis - batch, chosen.shape[1:]
    parts = [
        torch.index_select(one, at, where.reshape(-1)).reshape([*one.shape[:at], *shape, *one.shape[at + 1 :]])
        for one, where in zip(flat, chosen, strict=True)
    ]
    stacked = torch.stack(parts)
    return stacked.reshape([*x.shape[:batch], *stacked.shape[1:]])


def _gather_along_axis(args: Arguments) -> Tensor:
    axis = int_or(args, "axis", 0) % args["x"].ndim
    return torch.gather(args["x"], axis, _indices(args, args["x"].shape[axis]))


def _gather_nd(args: Arguments) -> Tensor:
    if int_or(args, "batch_dims", 0):
        raise ValueError("batch_dims is not covered")
    indices = args["indices"].long()
    return args["x"][tuple(indices[..., i] for i in range(indices.shape[-1]))]


def _pad(args: Arguments) -> Tensor:
    x, pads, mode = args["x"], ints(args["pad"]), str(args.get("mode", "constant"))
    last_first = [pads[j] for axis in reversed(range(len(pads) // 2)) for j in (2 * axis, 2 * axis + 1)]
    if mode == "constant":
        return F.pad(x, last_first, value=number_or(args, "constant_val", 0.0))
    while last_first[-2:] == [0, 0]:
        del last_first[-2:]
    return F.pad(x, last_first, mode=_PAD_MODES[mode])


def _crop(args: Arguments) -> Tensor:
    (top, bottom), (left, right) = (ints(args[name]) for name in ("crop_height", "crop_width"))
    h, w = args["x"].shape[-2:]
    return args["x"][..., top : h - bottom, left : w - right]


def _depth_to_space(args: Arguments) -> Tensor:
    """The depth is taken apart as block, block, channel (pixel_shuffle: channel, block, block)."""
    n, c, h, w = args["x"].shape
    b = int(args["block_size"])
    return args["x"].reshape(n, b, b, c // b**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


def _space_to_depth(args: Arguments) -> Tensor:
    n, c, h, w = args["x"].shape
    b = int(args["block_size"])
    return args["x"].reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b**2, h // b, w // b)


def _scaled(args: Arguments) -> tuple[int, int]:
    x, factors = args["x"], (number_or(args, f"scale_factor_{name}", 1.0) for name in ("height", "width"))
    h, w = (floor(size * factor) for size, factor in zip(x.shape[-2:], factors, strict=True))
    return h, w


def _wanted(args: Arguments) -> tuple[int, int]:
    return int(args["target_size_height"]), int(args["target_size_width"])


def _nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x.reshape(1, -1, *x.shape[-2:]), size).reshape(*x.shape[:-2], *size)


def _points(before: int, after: int, mode: str) -> Tensor:
    """Where each of `after` values is taken from, in [0, before - 1], as a resize op's sampling mode says."""
    i = torch.arange(after, dtype=torch.float32)
    if mode == "UNALIGN_CORNERS":
        points = i * (before / after) + 0.5 * (before / after) - 0.5
    elif mode == "OFFSET_CORNERS":
        points = (0.5 + i) * (max(1, before - 1) / after)
    elif mode == "DEFAULT":
        points = i * ((before - before / after) / max(after - 1, 1))
    elif mode == "ALIGN_CORNERS" and after == 1:
        points = torch.full((1,), (before - 1) / 2)
    elif mode in {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"}:
        points = i * ((before - 1) / max(after - 1, 1))
    else:
        raise ValueError(f"sampling mode {mode} is not covered")
    return points.clamp(0, before - 1)


def _bilinear(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    for axis, after in zip((-2, -1), size, strict=True):
        points = _points(x.shape[axis], after, mode)
        low = points.floor().long()
        share = (points - low).reshape([-1, 1] if axis == -2 else [-1])
        high = (low + 1).clamp(max=x.shape[axis] - 1)
        x = x.index_select(x.ndim + axis, low) * (1 - share) + x.index_select(x.ndim + axis, high) * share
    return x


def _upsample_bilinear(args: Arguments) -> Tensor:
    if "half_pixel_centers" in args and flag(args, "half_pixel_centers") == flag(args, "align_corners"):
        mode = "DEFAULT"
    else:
        mode = (
            "STRICT_ALIGN_CORNERS" if "align_corners" not in args or flag(args, "align_corners") else "UNALIGN_CORNERS"
        )
    return _bilinear(args["x"], _scaled(args), mode)


def _topk(args: Arguments) -> tuple[Tensor, Tensor]:
    k, axis = int_or(args, "k", 1), int_or(args, "axis", -1)
    found = torch.topk(args["x"], k, dim=axis, largest=not flag(args, "ascending"))
    return found.values, found.indices


def _argsort(args: Arguments) -> Tensor:
    return torch.argsort(args["x"], dim=int_or(args, "axis", -1), descending=not flag(args, "ascending"), stable=True)


def _one_hot(args: Arguments) -> Tensor:
    on, off = number_or(args, "on_value", 1.0), number_or(args, "off_value", 0.0)
    hot = F.one_hot(args["indices"].long(), int(args["one_hot_vector_size"]))
    return torch.where(hot.bool(), on, off).movedim(-1, int_or(args, "axis", -1))


def _cumsum(args: Arguments) -> Tensor:
    x, axis = args["x"], int_or(args, "axis", 0)
    x = x.flip(axis) if flag(args, "reverse") else x
    total = torch.cumsum(x, axis) - (x if flag(args, "exclusive") else 0)
    return total.flip(axis) if flag(args, "reverse") else total


def _band_part(args: Arguments) -> Tensor:
    x, low, high = args["x"], int_or(args, "lower", -1), int_or(args, "upper", -1)
    x = torch.tril(x, high) if high >= 0 else x
    return torch.triu(x, -low) if low >= 0 else x


def _fill(args: Arguments) -> Tensor:
    return args["value"].expand(ints(args["shape"])) if "value" in args else torch.zeros(ints(args["shape"]))


def _range(args: Arguments) -> Tensor:
    start, end, step = (args[name].item() for name in ("start", "end", "step"))
    return torch.arange(start, end, step, dtype=args["start"].dtype)


def _sliding_windows(args: Arguments) -> Tensor:
    axis = int(args["axis"]) % args["x"].ndim
    windows = args["x"].unfold(axis, int(args["size"]), int_or(args, "stride", 1))
    return windows.movedim(-1, axis + 1)


SHAPES: dict[str, Kernel] = {
    "reshape": _reshape, "squeeze": _squeeze, "expand_dims": _expand_dims, "concat": _concat, "split": _split,
    "slice_by_index": _slice_by_index, "slice_by_size": _slice_by_size,
    "slice_axis": _slice_axis, "gather": _gather, "gather_nd": _gather_nd,
    "gather_along_axis": _gather_along_axis, "pad": _pad, "crop": _crop, "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth, "upsample_bilinear": _upsample_bilinear, "topk": _topk, "argsort": _argsort,
    "one_hot": _one_hot, "cumsum": _cumsum, "band_part": _band_part, "fill": _fill, "range_1d": _range,
    "sliding_windows": _sliding_windows,
    "transpose": lambda args: args["x"].permute(ints(args["perm"])),
    "stack": lambda args: torch.stack(many(args["values"]), int(args["axis"])),
    "tile": lambda args: args["x"].repeat(ints(args["reps"])),
    "reverse": lambda args: args["x"].flip(ints_or(args, "axes", list(range(args["x"].ndim)))),
    "flatten2d": lambda args: args["x"].flatten(int_or(args, "axis", 1)).flatten(0, int_or(args, "axis", 1) - 1),
    "shape": lambda args: torch.tensor(args["x"].shape),
    "pixel_shuffle": lambda args: F.pixel_shuffle(args["x"], int(args["upscale_factor"])),
    "pixel_unshuffle": lambda args: F.pixel_unshuffle(args["x"], int(args["downscale_factor"])),
    "upsample_nearest_neighbor": lambda args: _nearest(args["x"], _scaled(args)),
    "resize_nearest_neighbor": lambda args: _nearest(args["x"], _wanted(args)),
    "resize_bilinear": lambda args: _bilinear(args["x"], _wanted(args), str(args.get("sampling_mode", "DEFAULT"))),
    "fill_like": lambda args: _fill({**args, "shape": torch.tensor(args["ref_tensor"].shape)}),
}  # fmt: skip
