"""The compressed weights of ML programs (constexpr_…), int8, int4, palettes, sparse: expanded when a file is read."""

from math import log2, prod

import numpy as np
import torch
from torch import Tensor

from edgekit.formats.mil.arguments import Arguments, Kernel, along, int_or, ints
from edgekit.formats.mil.values import unpacked


def _affine(args: Arguments) -> Tensor:
    data, axis = args["quantized_data"].float(), int_or(args, "axis", 0)
    scale, zero = (along(args[name].float(), axis, data.ndim) for name in ("scale", "zero_point"))
    return scale * (data - zero)


def _over_blocks(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A number for each block, repeated to one for each element."""
    for axis, size in enumerate(shape):
        if value.shape[axis] != size:
            value = value.repeat_interleave(size // value.shape[axis], axis)
    return value


def _blockwise(args: Arguments) -> Tensor:
    data, shape = args["data"].float(), tuple(args["data"].shape)
    if "offset" in args:
        data = data - _over_blocks(args["offset"].float(), shape)
    return data * _over_blocks(args["scale"], shape)


def _sparse_blockwise(args: Arguments) -> tuple[Tensor, Tensor]:
    mask = args["data_mask"].bool()
    dense = _blockwise(dict(args) | {"data": _placed(args["nonzero_data"], mask)})
    return args["data_mask"], dense[mask]


def _placed(values: Tensor, mask: Tensor) -> Tensor:
    if int(mask.sum()) != values.numel():
        raise ValueError(f"a mask for {int(mask.sum())} values, of which there are {values.numel()}")
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter(mask, values)


def _bits(packed: Tensor, bits: int, count: int) -> Tensor:
    if packed.numel() != (count * bits + 7) // 8:
        raise ValueError(f"{packed.numel()} bytes for {count} numbers of {bits} bits")
    return torch.from_numpy(unpacked(packed.numpy(), bits, count).astype(np.int64))


def _sparse(args: Arguments) -> Tensor:
    if "shape" not in args:
        return _placed(args["nonzero_data"], args["mask"].bool())
    shape = ints(args["shape"])
    return _placed(args["nonzero_data"], _bits(args["mask"], 1, prod(shape)).bool().reshape(shape))


def _palette(args: Arguments) -> Tensor:
    if "shape" not in args:
        return _looked_up(args["indices"].long(), args)
    shape, lut = ints(args["shape"]), args["lut"]
    return lut[_bits(args["indices"], int(log2(lut.numel())), prod(shape))].reshape(shape)


def _looked_up(indices: Tensor, args: Arguments) -> Tensor:
    """Each index replaced by the value, or the vector along an axis, that its block's table has for it."""
    lut = args["lut"]
    *blocks, count, length = lut.shape
    if indices.numel() and int(indices.max()) >= count:
        raise ValueError(f"index {int(indices.max())} into a palette of {count}")
    numbers = torch.arange(prod(blocks)).reshape(blocks)
    vectors = lut.reshape(-1, length)[_over_blocks(numbers, tuple(indices.shape)) * count + indices]
    axis = int_or(args, "vector_axis", -1) % indices.ndim
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _sparse_palette(args: Arguments) -> tuple[Tensor, Tensor]:
    mask = args["indices_mask"].bool()
    length, axis = args["lut"].shape[-1], int_or(args, "vector_axis", -1)
    dense = _looked_up(_placed(args["indices_nonzero_data"].long(), mask), args)
    wide = mask.repeat_interleave(length, axis) if length > 1 else mask
    return wide.to(torch.uint8), dense[wide]


WEIGHTS: dict[str, Kernel] = {
    "constexpr_affine_dequantize": _affine, "constexpr_blockwise_shift_scale": _blockwise,
    "constexpr_sparse_blockwise_shift_scale": _sparse_blockwise, "constexpr_sparse_to_dense": _sparse,
    "constexpr_lut_to_dense": _palette, "constexpr_lut_to_sparse": _sparse_palette,
    "constexpr_cast": lambda args: args["source_val"],
}  # fmt: skip
