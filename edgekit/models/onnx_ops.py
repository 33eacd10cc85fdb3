"""The ONNX operators of float networks, in torch: each takes its inputs and its attributes, and honours them all.

The meaning of each operator is that of
https://onnx.ai/onnx/operators/.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.models.onnx_call import Call, Operator, Value, numbers, operand, static, tensor
from edgekit.models.onnx_moves import (
    cast,
    concat,
    constant_of_shape,
    depth_to_space,
    expand,
    flatten,
    gather,
    pad,
    range_,
    reshape,
    resize,
    shape,
    slice_,
    split,
    squeeze,
    transpose,
    unsqueeze,
    where,
)


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


def _leaky(call: Call, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, call.get("alpha", 0.01))


def _hard_swish(call: Call, x: Tensor) -> Tensor:
    return functional.hardswish(x)


OPERATORS: dict[str, Operator] = {
    "Abs": unary(torch.abs, np.abs), "Add": binary(torch.add, np.add), "AveragePool": average_pool,
    "BatchNormalization": batch_norm, "Cast": cast, "Ceil": unary(torch.ceil, np.ceil), "Clip": clip, "Concat": concat,
    "ConstantOfShape": constant_of_shape, "Conv": conv, "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space, "Div": binary(torch.div, divide_numbers),
    "Dropout": lambda call, x, *rest: x, "Elu": lambda call, x: functional.elu(x, call.get("alpha", 1.0)),
    "Equal": binary(torch.eq, np.equal), "Erf": unary(torch.erf), "Exp": unary(torch.exp, np.exp), "Expand": expand,
    "Flatten": flatten, "Floor": unary(torch.floor, np.floor), "Gather": gather, "Gelu": gelu, "Gemm": gemm,
    "GlobalAveragePool": global_pool(torch.mean), "GlobalMaxPool": global_pool(torch.amax),
    "HardSigmoid": hard_sigmoid, "HardSwish": _hard_swish, "Identity": lambda call, x: x,
    "LayerNormalization": layer_norm, "LeakyRelu": _leaky, "Linear": linear, "Log": unary(torch.log, np.log),
    "LogSoftmax": softmax(torch.log_softmax), "MatMul": binary(torch.matmul, np.matmul), "Max": folded(torch.maximum),
    "MaxPool": max_pool, "Min": folded(torch.minimum), "Mish": unary(functional.mish),
    "Mul": binary(torch.mul, np.multiply), "Neg": unary(torch.neg, np.negative), "PRelu": prelu, "Pad": pad,
    "Pow": binary(torch.pow, np.power), "Range": range_, "Reciprocal": unary(torch.reciprocal, np.reciprocal),
    "ReduceMax": reduction(torch.amax), "ReduceMean": reduction(torch.mean), "ReduceMin": reduction(torch.amin),
    "ReduceSum": reduction(torch.sum), "Relu": unary(functional.relu), "Reshape": reshape, "Resize": resize,
    "Selu": unary(functional.selu), "Shape": shape, "Sigmoid": unary(torch.sigmoid), "Slice": slice_,
    "Softmax": softmax(torch.softmax), "Softplus": unary(functional.softplus), "Split": split,
    "Sqrt": unary(torch.sqrt, np.sqrt), "Squeeze": squeeze, "Sub": binary(torch.sub, np.subtract),
    "Sum": folded(torch.add), "Tanh": unary(torch.tanh), "Transpose": transpose,
    "Unsqueeze": unsqueeze, "Upsample": resize, "Where": where,
}  # fmt: skip
