"""The ONNX operators of float networks, in torch: each takes its inputs and its attributes, and honours them all.

An input is a tensor, a float (a constant of one element), None (left out) or a numpy array: numbers that are known
before the model runs, such as a shape, on which arithmetic is done at once. The meaning of each operator is that of
https://onnx.ai/onnx/operators/.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import ModelError

Value = Any
Operator = Callable[..., Value]


@dataclass(frozen=True)
class Call:
    """What an operator sees beside its inputs: the node's name, its attributes, the version of the operator set."""

    op: str
    name: str
    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        return self.attributes.get(name, default)

    def refuse(self, why: str) -> ModelError:
        """The error for an attribute that this reader does not take."""
        return ModelError(
            f"ONNX node {self.name!r} ({self.op}): {why}, which edgekit does not read: give the model as an nn.Module "
            'in "file.py:function", or as a .pt2'
        )


def static(value: Value) -> bool:
    """Whether a value is known before the model runs."""
    return not isinstance(value, Tensor)


def numbers(value: Value) -> list[Any]:
    """A known value (axes, a shape) as a list of integers."""
    return [v if not isinstance(v, np.generic) else v.item() for v in np.asarray(value).reshape(-1)]


def tensor(value: Value) -> Tensor:
    """A value as a tensor."""
    if isinstance(value, Tensor):
        return value
    return torch.as_tensor(np.asarray(value).astype(np.int64) if _is_object(value) else np.asarray(value))


def operand(value: Value) -> Tensor | float:
    """A value as what torch's arithmetic takes: a known number of floats stays a number."""
    if isinstance(value, Tensor | float):
        return value
    array = np.asarray(value)
    return float(array) if array.ndim == 0 and array.dtype.kind == "f" else tensor(array)


def _is_object(value: Value) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv; pads that differ at both ends are added first."""
    n = x.dim() - 2
    dilations = list(call.get("dilations", [1] * n))
    strides = list(call.get("strides", [1] * n))
    spans = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    x, pads = _padded(call, x, spans, strides, 0.0)
    kind = (functional.conv1d, functional.conv2d, functional.conv3d)[n - 1]
    return kind(x, weight, bias, strides, pads, dilations, call.get("group", 1))


def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ConvTranspose with pads equal at both ends."""
    n = x.dim() - 2
    pads = call.get("pads", [0] * 2 * n)
    if call.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or call.get("output_shape"):
        raise call.refuse("auto_pad or output_shape of a transposed convolution")
    if list(pads[:n]) != list(pads[n:]):
        raise call.refuse(f"pads {list(pads)} that differ at both ends of a transposed convolution")
    kind = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[n - 1]
    strides, dilations = list(call.get("strides", [1] * n)), list(call.get("dilations", [1] * n))
    extra = list(call.get("output_padding", [0] * n))
    return kind(x, weight, bias, strides, list(pads[:n]), extra, call.get("group", 1), dilations)


def _padded(call: Call, x: Tensor, spans: list[int], strides: list[int], fill: float) -> tuple[Tensor, list[int]]:
    """The input, and the padding that torch's own op can do: what differs at both ends is added here."""
    n, auto = len(spans), call.get("auto_pad", "NOTSET")
    pads = list(call.get("pads", [0] * 2 * n))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = [
            max((math.ceil(s / t) - 1) * t + k - s, 0) for s, t, k in zip(x.shape[2:], strides, spans, strict=True)
        ]
        less, more = [s // 2 for s in sizes], [s - s // 2 for s in sizes]
        pads = less + more if auto == "SAME_UPPER" else more + less
    elif auto == "VALID":
        pads = [0] * 2 * n
    if pads[:n] == pads[n:]:
        return x, pads[:n]
    both = [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]
    return functional.pad(x, both, value=fill), [0] * n


def max_pool(call: Call, x: Tensor) -> Tensor:
    """MaxPool; its second output, the indices, is not read."""
    if call.outputs > 1 or call.get("storage_order", 0):
        raise call.refuse("the indices of a max pooling")
    size = list(call.get("kernel_shape"))
    n = len(size)
    strides, dilations = list(call.get("strides", [1] * n)), list(call.get("dilations", [1] * n))
    spans = [(k - 1) * d + 1 for k, d in zip(size, dilations, strict=True)]
    x, pads = _padded(call, x, spans, strides, -math.inf)
    if any(p * 2 > k for p, k in zip(pads, size, strict=True)):
        x, pads = functional.pad(x, [p for p in reversed(pads) for _ in (0, 1)], value=-math.inf), [0] * n
    kind = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[n - 1]
    return kind(x, size, strides, pads, dilations, bool(call.get("ceil_mode", 0)))


def average_pool(call: Call, x: Tensor) -> Tensor:
    """AveragePool."""
    size = list(call.get("kernel_shape"))
    n = len(size)
    if any(d != 1 for d in call.get("dilations", [1])):
        raise call.refuse("a dilated average pooling")
    strides, counts = list(call.get("strides", [1] * n)), bool(call.get("count_include_pad", 0))
    padded, pads = _padded(call, x, size, strides, 0.0)
    if padded is not x and not counts:
        raise call.refuse("an average that leaves out padding that differs at both ends")
    kind = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[n - 1]
    return kind(padded, size, strides, pads, bool(call.get("ceil_mode", 0)), counts)


def batch_norm(call: Call, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """BatchNormalization as it runs after training."""
    if call.get("training_mode", 0) or call.outputs > 1:
        raise call.refuse("a BatchNormalization in training mode")
    return functional.batch_norm(x, mean, var, weight, bias, training=False, eps=call.get("epsilon", 1e-5))


def layer_norm(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """LayerNormalization over the dimensions from `axis` on."""
    axis = call.get("axis", -1) % x.dim()
    return functional.layer_norm(x, x.shape[axis:], weight, bias, call.get("epsilon", 1e-5))


def linear(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """MatMul or Gemm with constant weights, which the reader has turned into (out, in)."""
    return functional.linear(x.t() if call.get("transA", 0) else x, weight, bias)


def gemm(call: Call, a: Tensor, b: Tensor, c: Value = None) -> Tensor:
    """Gemm of two computed matrices."""
    made = (a.t() if call.get("transA", 0) else a) @ (b.t() if call.get("transB", 0) else b) * call.get("alpha", 1.0)
    return made if c is None else made + c * call.get("beta", 1.0)


def binary(on_tensors: Operator, on_numbers: Operator) -> Operator:
    """An operator over two values; over two known ones it is done at once."""

    def run(call: Call, a: Value, b: Value) -> Value:
        if static(a) and static(b):
            return np.asarray(on_numbers(np.asarray(a), np.asarray(b)))
        return on_tensors(*map(operand, (a, b)))

    return run


def divide_numbers(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Division of shapes is of integers."""
    return np.asarray(a / b if "f" in (a.dtype.kind, b.dtype.kind) else a // b)


def folded(function: Operator) -> Operator:
    """Max, Min and Sum: an operator over any number of tensors."""

    def run(call: Call, *values: Value) -> Value:
        made = tensor(values[0])
        for value in values[1:]:
            made = function(made, tensor(value))
        return made

    return run


def unary(on_tensor: Operator, on_numbers: Operator | None = None) -> Operator:
    """An operator over one tensor without attributes; over known numbers it is done at once."""

    def run(call: Call, x: Value) -> Value:
        if static(x):
            if on_numbers is None:
                raise call.refuse("an activation of a constant")
            return np.asarray(on_numbers(np.asarray(x)))
        return on_tensor(x)

    return run


def clip(call: Call, x: Tensor, low: Value = None, high: Value = None) -> Tensor:
    """Clip; 0 to 6 is what torch calls relu6."""
    low = call.get("min") if low is None else low
    high = call.get("max") if high is None else high
    if low is None and high is None:
        return x
    if not all(static(v) for v in (low, high) if v is not None):
        return torch.clamp(x, None if low is None else tensor(low), None if high is None else tensor(high))
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def softmax(function: Operator) -> Operator:
    """Softmax and LogSoftmax; before operator set 13 over all dimensions from `axis` on."""

    def run(call: Call, x: Tensor) -> Tensor:
        if call.opset >= 13:
            return function(x, call.get("axis", -1))
        axis = call.get("axis", 1) % x.dim()
        return function(x, -1) if axis == x.dim() - 1 else function(x.flatten(axis), -1).reshape(x.shape)

    return run


def gelu(call: Call, x: Tensor) -> Tensor:
    """Gelu."""
    return functional.gelu(x, approximate=call.get("approximate", "none"))


def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """HardSigmoid; torch's own where the slope is 1/6."""
    slope, shift = call.get("alpha", 0.2), call.get("beta", 0.5)
    if abs(slope - 1 / 6) < 1e-6 and shift == 0.5:
        return functional.hardsigmoid(x)
    return torch.clamp(x * slope + shift, 0.0, 1.0)


def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """PRelu; a slope for each channel is torch's own."""
    if slope.numel() == 1 or (slope.dim() >= 2 and slope.shape[0] == slope.numel() == x.shape[1]):
        return functional.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


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


def reduction(function: Operator) -> Operator:
    """ReduceMean and its kin; without axes over all dimensions, or none where the operator says so."""

    def run(call: Call, x: Tensor, axes: Value = None) -> Tensor:
        dims = call.get("axes") if axes is None else numbers(axes)
        if not dims and call.get("noop_with_empty_axes", 0):
            return x
        return function(x, list(dims) if dims else list(range(x.dim())), bool(call.get("keepdims", 1)))

    return run


def global_pool(function: Operator) -> Operator:
    """GlobalAveragePool and GlobalMaxPool."""
    return lambda call, x: function(x, list(range(2, x.dim())), True)


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
        return x if _is_object(x) else np.asarray(x).astype(str(kinds[call.get("to")]).removeprefix("torch."))
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


def _leaky(call: Call, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, call.get("alpha", 0.01))


def _hard_swish(call: Call, x: Tensor) -> Tensor:
    return functional.hardswish(x)


def _range(call: Call, start: Value, end: Value, step: Value) -> np.ndarray:
    return np.arange(np.asarray(start).item(), np.asarray(end).item(), np.asarray(step).item())


def _depth_to_space(call: Call, x: Tensor) -> Tensor:
    if call.get("mode", "DCR") != "CRD":
        raise call.refuse("DepthToSpace of mode DCR")
    return functional.pixel_shuffle(x, call.get("blocksize"))


OPERATORS: dict[str, Operator] = {
    "Abs": unary(torch.abs, np.abs), "Add": binary(torch.add, np.add), "AveragePool": average_pool,
    "BatchNormalization": batch_norm, "Cast": cast, "Ceil": unary(torch.ceil, np.ceil), "Clip": clip, "Concat": concat,
    "ConstantOfShape": constant_of_shape, "Conv": conv, "ConvTranspose": conv_transpose,
    "DepthToSpace": _depth_to_space, "Div": binary(torch.div, divide_numbers),
    "Dropout": lambda call, x, *rest: x, "Elu": lambda call, x: functional.elu(x, call.get("alpha", 1.0)),
    "Equal": binary(torch.eq, np.equal), "Erf": unary(torch.erf), "Exp": unary(torch.exp, np.exp), "Expand": expand,
    "Flatten": flatten, "Floor": unary(torch.floor, np.floor), "Gather": gather, "Gelu": gelu, "Gemm": gemm,
    "GlobalAveragePool": global_pool(torch.mean), "GlobalMaxPool": global_pool(torch.amax),
    "HardSigmoid": hard_sigmoid, "HardSwish": _hard_swish, "Identity": lambda call, x: x,
    "LayerNormalization": layer_norm, "LeakyRelu": _leaky, "Linear": linear, "Log": unary(torch.log, np.log),
    "LogSoftmax": softmax(torch.log_softmax), "MatMul": binary(torch.matmul, np.matmul), "Max": folded(torch.maximum),
    "MaxPool": max_pool, "Min": folded(torch.minimum), "Mish": unary(functional.mish),
    "Mul": binary(torch.mul, np.multiply), "Neg": unary(torch.neg, np.negative), "PRelu": prelu, "Pad": pad,
    "Pow": binary(torch.pow, np.power), "Range": _range, "Reciprocal": unary(torch.reciprocal, np.reciprocal),
    "ReduceMax": reduction(torch.amax), "ReduceMean": reduction(torch.mean), "ReduceMin": reduction(torch.amin),
    "ReduceSum": reduction(torch.sum), "Relu": unary(functional.relu), "Reshape": reshape, "Resize": resize,
    "Selu": unary(functional.selu), "Shape": shape, "Sigmoid": unary(torch.sigmoid), "Slice": slice_,
    "Softmax": softmax(torch.softmax), "Softplus": unary(functional.softplus), "Split": split,
    "Sqrt": unary(torch.sqrt, np.sqrt), "Squeeze": squeeze, "Sub": binary(torch.sub, np.subtract),
    "Sum": folded(torch.add), "Tanh": unary(torch.tanh), "Transpose": transpose, "Unsqueeze": unsqueeze, "Upsample": resize, "Where": where,
}  # fmt: skip
