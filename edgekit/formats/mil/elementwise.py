"""Ops of ML programs that work value by value: activations, arithmetic, comparisons, quantize and dequantize."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekit.formats.mil.arguments import Arguments, Kernel, along, int_or, number_or

_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}
_CASTS = {
    "fp16": torch.float16, "fp32": torch.float32, "fp64": torch.float64, "bool": torch.bool, "int8": torch.int8,
    "uint8": torch.uint8, "int16": torch.int16, "uint16": torch.int32, "int32": torch.int32, "uint32": torch.int64,
    "int64": torch.int64,
}  # fmt: skip


def _quantize(args: Arguments) -> Tensor:
    """round(input / scale) + zero point, kept within the type: the format divides, and has no narrower range."""
    x, axis = args["input"], int_or(args, "axis", 0)
    q = torch.round(x / along(args["scale"], axis, x.ndim))
    if "zero_point" in args:
        q = q + along(args["zero_point"].float(), axis, x.ndim)
    return q.clamp(*_RANGES[str(args["output_dtype"])])


def _dequantize(args: Arguments) -> Tensor:
    q, axis = args["input"].float(), int_or(args, "axis", 0)
    if "zero_point" in args:
        q = q - along(args["zero_point"].float(), axis, q.ndim)
    return q * along(args["scale"], axis, q.ndim)


def _gelu(args: Arguments) -> Tensor:
    mode = str(args.get("mode", "EXACT"))
    if mode == "SIGMOID_APPROXIMATION":
        return args["x"] * torch.sigmoid(1.702 * args["x"])
    return F.gelu(args["x"], approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _prelu(args: Arguments) -> Tensor:
    x = args["x"]
    return torch.where(x > 0, x, x * along(args["alpha"], 1, x.ndim))


def _softplus_parametric(args: Arguments) -> Tensor:
    x = args["x"]
    return along(args["alpha"], 1, x.ndim) * F.softplus(x * along(args["beta"], 1, x.ndim), threshold=1e9)


def _clamped_relu(args: Arguments) -> Tensor:
    x = args["x"]
    return torch.where(x >= 0, x, x * float(args["alpha"])).clamp(max=float(args["beta"]))


def _select(args: Arguments) -> Tensor:
    return torch.where(args["cond"].bool(), args["a"], args["b"])


def _floor_div(args: Arguments) -> Tensor:
    return torch.div(args["x"], args["y"], rounding_mode="floor")


def _unary(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda args: function(args["x"])


def _binary(function: Callable[[Any, Any], Tensor]) -> Kernel:
    return lambda args: function(args["x"], args["y"])


def _with_alpha(function: Callable[[Tensor, float], Tensor]) -> Kernel:
    return lambda args: function(args["x"], float(args["alpha"]))


def _with_both(function: Callable[[Tensor, float, float], Tensor]) -> Kernel:
    return lambda args: function(args["x"], float(args["alpha"]), float(args["beta"]))


def _guarded(function: Callable[[Tensor], Tensor], epsilon: float) -> Kernel:
    """Of the input and a small number that is added to it."""
    return lambda args: function(args["x"] + number_or(args, "epsilon", epsilon))


ELEMENTWISE: dict[str, Kernel] = {
    "quantize": _quantize, "dequantize": _dequantize, "gelu": _gelu, "prelu": _prelu, "select": _select,
    "softplus_parametric": _softplus_parametric, "clamped_relu": _clamped_relu, "floor_div": _floor_div,
    "cast": lambda args: args["x"].to(_CASTS[str(args["dtype"])]),
    "softmax": lambda args: F.softmax(args["x"], int_or(args, "axis", -1)),
    "clip": _with_both(lambda x, alpha, beta: x.clamp(alpha, beta)),
    "linear_activation": _with_both(lambda x, alpha, beta: x * alpha + beta),
    "scaled_tanh": _with_both(lambda x, alpha, beta: alpha * torch.tanh(beta * x)),
    "sigmoid_hard": _with_both(lambda x, alpha, beta: (x * alpha + beta).clamp(0, 1)),
    "elu": _with_alpha(F.elu),
    "leaky_relu": _with_alpha(lambda x, alpha: torch.where(x >= 0, x, x * alpha)),
    "thresholded_relu": _with_alpha(lambda x, alpha: torch.where(x >= alpha, x, torch.zeros_like(x))),
    "threshold": _with_alpha(lambda x, alpha: x.clamp(min=alpha)),
    "inverse": _guarded(torch.reciprocal, 1e-4), "rsqrt": _guarded(torch.rsqrt, 1e-12),
    "log": _guarded(torch.log, 1e-45),
    "identity": _unary(lambda x: x), "relu": _unary(F.relu), "relu6": _unary(F.relu6), "silu": _unary(F.silu),
    "sigmoid": _unary(torch.sigmoid), "tanh": _unary(torch.tanh), "softsign": _unary(F.softsign),
    "softplus": _unary(lambda x: F.softplus(x, threshold=1e9)), "erf": _unary(torch.erf), "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2), "sqrt": _unary(torch.sqrt), "square": _unary(torch.square), "abs": _unary(torch.abs),
    "ceil": _unary(torch.ceil), "floor": _unary(torch.floor), "round": _unary(torch.round), "sign": _unary(torch.sign),
    "sin": _unary(torch.sin), "cos": _unary(torch.cos), "tan": _unary(torch.tan), "asin": _unary(torch.asin),
    "acos": _unary(torch.acos), "atan": _unary(torch.atan), "sinh": _unary(torch.sinh), "cosh": _unary(torch.cosh),
    "atanh": _unary(torch.atanh), "logical_not": _unary(torch.logical_not),
    "add": _binary(torch.add), "sub": _binary(torch.sub), "mul": _binary(torch.mul), "real_div": _binary(torch.div),
    "pow": _binary(torch.pow), "mod": _binary(torch.remainder), "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum), "equal": _binary(torch.eq), "not_equal": _binary(torch.ne),
    "less": _binary(torch.lt), "less_equal": _binary(torch.le), "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge), "logical_and": _binary(torch.logical_and),
    "logical_or": _binary(torch.logical_or), "logical_xor": _binary(torch.logical_xor),
}  # fmt: skip
