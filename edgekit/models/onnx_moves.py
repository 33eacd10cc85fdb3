"""The ONNX operators that move, shape and pick values, in torch; with all their attributes (onnx_ops.py)."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.models.onnx_call import Call, Value, is_object, numbers, operand, static, tensor


def reshape(call: Call, x: Value, shape: Value) -> Value:
    """Reshape; a 0 takes the input's size, unless allowzero."""
    wanted = numbers(shape)
    if not call.get("allowzero", 0):
        wanted = [x.shape[i] if isinstance(s, int) and s == 0 else s for i, s in enumerate(wanted)]
    if call.get("keeps_batch"):
        wanted[0] = x.shape[0]
    return np.asarray(x).reshape(wanted) if static(x) else x.reshape(wanted)


def flatten(call: Call, x: Tensor) -> Tensor:
    """Flatten to two dimensions, before and from `axis`."""
    axis = call.get("axis", 1)
    axis = axis + x.dim() if axis < 0 else axis
    return x.flatten(1) if axis == 1 else x.reshape(math.prod(x.shape[:axis]), -1)


def transpose(call: Call, x: Value) -> Value:
    """Transpose; without perm the dimensions are reversed."""
    if static(x):
        return np.transpose(np.asarray(x), call.get("perm"))
    return x.permute(list(call.get("perm", range(x.dim())[::-1])))


def concat(call: Call, *values: Value) -> Value:
    """Concat of tensors, or of known numbers."""
    if all(static(v) for v in values):
        return np.concatenate([np.asarray(v).reshape(-1) for v in values])
    return torch.cat([tensor(v) for v in values], call.get("axis"))


def split(call: Call, x: Tensor, sizes: Value = None) -> tuple[Tensor, ...]:
    """Split by sizes, or into equal parts, of which the last may be smaller."""
    axis = call.get("axis", 0)
    given = call.get("split") if sizes is None else numbers(sizes)
    if given is None:
        given = -(-x.shape[axis] // call.outputs)
    return torch.split(x, given if isinstance(given, int) else list(given), axis)


def slice_(
    call: Call, x: Value, starts: Value = None, ends: Value = None, axes: Value = None, steps: Value = None
) -> Value:
    """Slice with positive steps, or a whole dimension backwards."""
    starts = numbers(call.get("starts") if starts is None else starts)
    ends = numbers(call.get("ends") if ends is None else ends)
    axes = call.get("axes") if axes is None else axes
    axes = list(range(len(starts))) if axes is None else numbers(axes)
    steps = [1] * len(starts) if steps is None else numbers(steps)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        where: list[Any] = [slice(None)] * x.ndim
        if step < 0 and isinstance(x, Tensor):
            if step != -1 or start not in (-1, x.shape[axis] - 1) or end > -x.shape[axis] - 1:
                raise call.refuse(f"a slice with step {step}")
            x = x.flip(axis)
            continue
        where[axis] = slice(start, end, step)
        x = x[tuple(where)]
    return x


def squeeze(call: Call, x: Value, axes: Value = None) -> Value:
    """Squeeze the axes named, or all of size 1."""
    axes = call.get("axes") if axes is None else numbers(axes)
    if static(x):
        return (
            np.asarray(x).reshape(())
            if np.asarray(x).size == 1
            else np.squeeze(x, None if axes is None else tuple(axes))
        )
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(call: Call, x: Value, axes: Value = None) -> Value:
    """Unsqueeze at the axes of the result."""
    places = list(call.get("axes") if axes is None else numbers(axes))
    rank = np.ndim(x) + len(places) if static(x) else x.dim() + len(places)
    for axis in sorted(a % rank for a in places):
        x = np.expand_dims(x, axis) if static(x) else x.unsqueeze(axis)
    return x


def gather(call: Call, x: Value, index: Value) -> Value:
    """Gather along an axis by any shape of indices."""
    axis = call.get("axis", 0)
    if static(x) and static(index):
        return np.take(np.asarray(x), np.asarray(index).astype(int), axis)
    if static(index) and np.ndim(index) == 0:
        return tensor(x).select(axis, int(index))
    where, x = tensor(index), tensor(x)
    axis = axis % x.dim()
    where = torch.where(where < 0, where + x.shape[axis], where)
    if axis == 0 and x.dim() == 2 and isinstance(index, Tensor):
        return functional.embedding(where, x)
    picked = x.index_select(axis, where.reshape(-1))
    return picked.reshape(*x.shape[:axis], *where.shape, *x.shape[axis + 1 :])


def pad(call: Call, x: Tensor, pads: Value = None, fill: Value = None, axes: Value = None) -> Tensor:
    """Pad with a constant, by reflection or with the edge."""
    ends = list(call.get("pads")) if pads is None else numbers(pads)
    chosen = list(range(x.dim())) if axes is None else [a % x.dim() for a in numbers(axes)]
    before, after = ends[: len(chosen)], ends[len(chosen) :]
    both = {axis: (before[i], after[i]) for i, axis in enumerate(chosen)}
    flat = [p for axis in reversed(range(x.dim())) for p in both.get(axis, (0, 0))]
    while flat[-2:] == [0, 0]:
        flat = flat[:-2]
    mode = call.get("mode", "constant")
    if mode == "constant":
        return functional.pad(x, flat, value=float(call.get("value", 0.0) if fill is None else fill)) if flat else x
    if mode not in ("reflect", "edge"):
        raise call.refuse(f"padding of mode {mode}")
    return functional.pad(x, flat, mode="reflect" if mode == "reflect" else "replicate") if flat else x


def resize(call: Call, x: Tensor, roi: Value = None, scales: Value = None, sizes: Value = None) -> Tensor:
    """Resize of images, where torch has the same rule for coordinates; Upsample, whose scales come second."""
    upsample = call.op == "Upsample"
    if upsample:
        scales = call.get("scales") if roi is None else roi
    if call.get("antialias", 0) or call.get("axes") or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refuse("resizing with antialias, axes or a kept aspect ratio")
    size = _new_size(call, x, scales, sizes)
    mode = call.get("mode", "nearest")
    rule = call.get("coordinate_transformation_mode", "asymmetric" if upsample else "half_pixel")
    half = rule in ("half_pixel", "pytorch_half_pixel")
    if mode == "nearest":
        rounds = call.get("nearest_mode", "floor" if upsample else "round_prefer_floor")
        whole = all(new % old == 0 for new, old in zip(size, x.shape[2:], strict=True))
        if not ((rule, rounds) == ("asymmetric", "floor") or (half and whole and rounds.startswith("round"))):
            raise call.refuse(f"nearest resizing with {rule} and {rounds}")
        return functional.interpolate(x, size, mode="nearest")
    if not (half or rule == "align_corners") or mode not in ("linear", "cubic"):
        raise call.refuse(f"{mode} resizing with {rule}")
    kind = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
    if mode == "cubic":
        if x.dim() != 4 or call.get("cubic_coeff_a", -0.75) != -0.75 or call.get("exclude_outside", 0):
            raise call.refuse("this cubic resizing")
        kind = "bicubic"
    return functional.interpolate(x, size, mode=kind, align_corners=rule == "align_corners")


def _new_size(call: Call, x: Tensor, scales: Value, sizes: Value) -> list[int]:
    if sizes is not None and np.size(sizes):
        return numbers(sizes)[2:]
    factors = [float(s) for s in numbers(scales.detach() if isinstance(scales, Tensor) else scales)]
    exact = [s * f for s, f in zip(x.shape[2:], factors[2:], strict=True)]
    if factors[:2] != [1.0, 1.0] or any(abs(e - round(e)) > 1e-6 for e in exact):
        raise call.refuse(f"resizing by {factors}")
    return [round(e) for e in exact]


def cast(call: Call, x: Value) -> Value:
    """Cast; half precision is read as float32."""
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float32, 11: torch.float32}
    if call.get("to") not in kinds:
        raise call.refuse(f"a cast to type {call.get('to')}")
    if static(x):
        return x if is_object(x) else np.asarray(x).astype(str(kinds[call.get("to")]).removeprefix("torch."))
    return x.to(kinds[call.get("to")])


def shape(call: Call, x: Value) -> np.ndarray:
    """Shape: numbers known before the model runs, but for a free batch."""
    sizes = list(x.shape)[call.get("start", 0) : call.get("end")]
    return np.array(sizes, dtype=object if any(not isinstance(s, int) for s in sizes) else np.int64)


def constant_of_shape(call: Call, size: Value) -> Value:
    """ConstantOfShape."""
    value = np.asarray(call.get("value", np.zeros(1, np.float32))).reshape(-1)[0]
    if value.dtype.kind in "iu":
        return np.full(numbers(size), value)
    return torch.full(numbers(size), value.item())


def expand(call: Call, x: Value, size: Value) -> Value:
    """Expand, by the rules of broadcasting both ways."""
    x, wanted = tensor(x), numbers(size)
    wanted = [1] * (x.dim() - len(wanted)) + wanted
    have = [1] * (len(wanted) - x.dim()) + list(x.shape)
    return x.expand([h if isinstance(w, int) and w == 1 else w for h, w in zip(have, wanted, strict=True)])


def where(call: Call, chosen: Value, a: Value, b: Value) -> Value:
    """Where."""
    if static(chosen) and static(a) and static(b):
        return np.where(chosen, a, b)
    return torch.where(tensor(chosen), operand(a), operand(b))


def range_(call: Call, start: Value, end: Value, step: Value) -> np.ndarray:
    """Range of known numbers."""
    return np.arange(np.asarray(start).item(), np.asarray(end).item(), np.asarray(step).item())


def depth_to_space(call: Call, x: Tensor) -> Tensor:
    """DepthToSpace, which torch calls pixel_shuffle, in the order of columns."""
    if call.get("mode", "DCR") != "CRD":
        raise call.refuse("DepthToSpace of mode DCR")
    return functional.pixel_shuffle(x, call.get("blocksize"))
