"""What a power-of-two QDQ file computes, in integers alone: products are summed, shifted, rounded and saturated.

Every value is held as whole numbers times a power of two, over a divisor behind an average: nothing is rounded but
where a quantize says so. As ONNX defines it a half goes to the even step, and an average divides by its area; that is
what the host's reference and onnxruntime compute. A DPU lets a half go up, and averages by a product and a shift.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from edgekit.errors import ArtifactError
from edgekit.formats.dpu.rules import average_factor
from edgekit.graph.values import constant

Arithmetic = Literal["onnx", "dpu"]


@dataclass(frozen=True)
class Exact:
    """The values `whole` · 2^`power` / `divisor`."""

    whole: np.ndarray
    power: int = 0
    divisor: int = 1

    def at(self, power: int) -> np.ndarray:
        """The whole numbers at a power that is not above this one's."""
        return self.whole << (self.power - power)


def evaluate(path: Path, inputs: tuple[np.ndarray, ...], *, arithmetic: Arithmetic = "onnx") -> tuple[np.ndarray, ...]:
    """The outputs of an all-int8 file for float32 inputs, the sample first; the file's batch is any.

    Raises: ArtifactError naming what is not int8, no power of two, or an op that is not known here.
    """
    graph = ir.load(path).graph
    known: dict[ir.Value, Any] = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph:
        takes = [None if value is None else _given(value, known) for value in node.inputs]
        op = _OPS.get(node.op_type)
        if op is None:
            raise ArtifactError(f"{path.name}: node {node.name}: {node.op_type} has no arithmetic of integers here")
        try:
            known[node.outputs[0]] = op(node, takes, arithmetic)
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            raise ArtifactError(f"{path.name}: node {node.name}, {node.op_type}: not of integers: {error}") from None
    return tuple(_floats(known[value]) for value in graph.outputs)


def _given(value: ir.Value, known: dict[ir.Value, Any]) -> Any:
    array = constant(value)
    return array if array is not None else known[value]


def _floats(value: Exact) -> np.ndarray:
    return (value.whole / value.divisor * 2.0**value.power).astype(np.float32)


def _power(scale: np.ndarray) -> int:
    """The exponent of a scale.

    >>> _power(np.float32(0.25))
    -2
    """
    mantissa, exponent = np.frexp(np.asarray(scale, np.float64).reshape(()))
    if mantissa != 0.5:
        raise ValueError(f"scale {float(scale)} is no power of two")
    return int(exponent) - 1


def rounded(value: Exact, power: int, arithmetic: Arithmetic) -> np.ndarray:
    """`value` in steps of 2^`power`, to the nearest; a half goes to the even step, or up.

    >>> rounded(Exact(np.array([1, 3, -1, -3]), -1), 0, "onnx").tolist()
    [0, 2, 0, -2]
    >>> rounded(Exact(np.array([1, 3, -1, -3]), -1), 0, "dpu").tolist()
    [1, 2, 0, -1]
    """
    shift = value.power - power
    over = value.whole << max(shift, 0)
    under = value.divisor << max(-shift, 0)
    steps = (2 * over + under) // (2 * under)
    half = (2 * over + under) % (2 * under) == 0
    return np.where(half & (steps % 2 != 0), steps - 1, steps) if arithmetic == "onnx" else steps


def _quantize(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> np.ndarray:
    value, scale, zero = takes
    if np.any(zero):
        raise ValueError("a zero point that is not 0")
    if isinstance(value, np.ndarray):
        return np.clip(np.rint(value / np.float32(scale)), -128, 127).astype(np.int64)
    return np.clip(rounded(value, _power(scale), arithmetic), -128, 127)


def _dequantize(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    steps, scale, zero = takes
    if np.any(zero):
        raise ValueError("a zero point that is not 0")
    return Exact(np.asarray(steps).astype(np.int64), _power(scale))


def _attribute(node: ir.Node, name: str, default: Any) -> Any:
    return node.attributes[name].value if name in node.attributes else default


def _windows(values: np.ndarray, node: ir.Node, kernel: tuple[int, ...], fill: int) -> np.ndarray:
    """(N, C, rows, columns, kernel rows, kernel columns)."""
    if len(kernel) != 2 or _attribute(node, "auto_pad", "NOTSET") != "NOTSET" or _attribute(node, "ceil_mode", 0):
        raise ValueError("want windows over height and width with pads of their own")
    top, left, bottom, right = _attribute(node, "pads", (0, 0, 0, 0))
    rows, columns = _attribute(node, "strides", (1, 1))
    across, along = _attribute(node, "dilations", (1, 1))
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    whole = ((kernel[0] - 1) * across + 1, (kernel[1] - 1) * along + 1)
    found: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, whole, axis=(2, 3))  # type: ignore[call-overload]
    return found[:, :, ::rows, ::columns, ::across, ::along]


def _plus(one: Exact, other: Exact) -> Exact:
    if one.divisor != 1 or other.divisor != 1:
        raise ValueError("an average is not quantized")
    power = min(one.power, other.power)
    return Exact(one.at(power) + other.at(power), power)


def _conv(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    value, weight = takes[:2]
    groups, filters = _attribute(node, "group", 1), weight.whole
    windows = _windows(value.whole, node, filters.shape[2:], 0)
    n, _, rows, columns = windows.shape[:4]
    taken = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, rows * columns, groups, -1).swapaxes(1, 2)
    products = taken @ filters.reshape(groups, len(filters) // groups, -1).swapaxes(1, 2)
    sums = products.transpose(0, 1, 3, 2).reshape(n, len(filters), rows, columns)
    return _biased(Exact(sums, value.power + weight.power), takes, (1, -1, 1, 1))


def _gemm(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    value, weight = takes[:2]
    if _attribute(node, "transA", 0) or _attribute(node, "alpha", 1.0) != 1 or _attribute(node, "beta", 1.0) != 1:
        raise ValueError("want a plain product")
    right = weight.whole.T if _attribute(node, "transB", 0) else weight.whole
    return _biased(Exact(value.whole @ right, value.power + weight.power), takes, (1, -1))


def _biased(sums: Exact, takes: list[Any], shape: tuple[int, ...]) -> Exact:
    if len(takes) < 3 or takes[2] is None:
        return sums
    return _plus(sums, replace(takes[2], whole=takes[2].whole.reshape(shape)))


def _add(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    return _plus(*takes)


def _mul(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    one, other = takes
    return Exact(one.whole * other.whole, one.power + other.power, one.divisor * other.divisor)


def _relu(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    return replace(takes[0], whole=np.maximum(takes[0].whole, 0))


def _clip(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    value, low, high = (*takes, None, None)[:3]
    power = min(value.power, 0)
    ends = [None if end is None else float(end) / 2.0**power * value.divisor for end in (low, high)]
    if any(end is not None and np.isfinite(end) and end != round(end) for end in ends):
        raise ValueError("a bound between two steps")
    least, most = (end if end is None or not np.isfinite(end) else int(end) for end in ends)
    least = None if least is None or least == -np.inf else least
    most = None if most is None or most == np.inf else most
    return replace(value, whole=np.clip(value.at(power), least, most), power=power)


def _max_pool(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Any:
    value = takes[0]
    steps = value.whole if isinstance(value, Exact) else value
    found = _windows(steps, node, tuple(_attribute(node, "kernel_shape", ())), np.iinfo(np.int64).min).max((4, 5))
    return replace(value, whole=found) if isinstance(value, Exact) else found


def _average(sums: np.ndarray, power: int, area: int, arithmetic: Arithmetic) -> Exact:
    if arithmetic == "onnx":
        return Exact(sums, power, area)
    factor, shift = average_factor(area)
    return Exact(sums * factor, power - shift)


def _average_pool(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    kernel = tuple(_attribute(node, "kernel_shape", ()))
    if any(_attribute(node, "pads", ())) and not _attribute(node, "count_include_pad", 0):
        raise ValueError("an average whose area changes at the edges")
    sums = _windows(takes[0].whole, node, kernel, 0).sum((4, 5))
    return _average(sums, takes[0].power, kernel[0] * kernel[1], arithmetic)


def _global_average_pool(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Exact:
    value = takes[0]
    area = int(np.prod(value.whole.shape[2:]))
    return _average(value.whole.sum((2, 3), keepdims=True), value.power, area, arithmetic)


def _moved(move: Callable[..., np.ndarray]) -> Callable[[ir.Node, list[Any], Arithmetic], Any]:
    """An op that only moves values, of whole numbers or of steps."""

    def op(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Any:
        value, *rest = takes
        if isinstance(value, Exact):
            return replace(value, whole=move(node, value.whole, *rest))
        return move(node, value, *rest)

    return op


def _concat(node: ir.Node, takes: list[Any], arithmetic: Arithmetic) -> Any:
    axis = _attribute(node, "axis", 0)
    if not isinstance(takes[0], Exact):
        return np.concatenate(takes, axis)
    power = min(value.power for value in takes)
    return Exact(np.concatenate([value.at(power) for value in takes], axis), power)


def _reshape(node: ir.Node, values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """The first size is the batch, which is any."""
    return values.reshape(len(values), *[int(s) for s in shape[1:]])


def _flatten(node: ir.Node, values: np.ndarray) -> np.ndarray:
    if _attribute(node, "axis", 1) != 1:
        raise ValueError("want the batch left alone")
    return values.reshape(len(values), -1)


_OPS: dict[str, Callable[[ir.Node, list[Any], Arithmetic], Any]] = {
    "QuantizeLinear": _quantize, "DequantizeLinear": _dequantize, "Conv": _conv, "Gemm": _gemm, "Add": _add,
    "Mul": _mul, "Relu": _relu, "Clip": _clip, "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool, "Concat": _concat,
    "Squeeze": _moved(lambda node, values, axes: np.squeeze(values, tuple(int(a) for a in axes))),
    "Unsqueeze": _moved(lambda node, values, axes: np.expand_dims(values, tuple(int(a) for a in axes))),
    "Transpose": _moved(lambda node, values: values.transpose(_attribute(node, "perm", None))),
    "Reshape": _moved(_reshape), "Flatten": _moved(_flatten),
}  # fmt: skip
