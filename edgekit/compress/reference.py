"""The host's reference: what a quantized program computes, in float64, dividing by the scale as the formats do.

torch multiplies by the reciprocal of a scale where ONNX, Core ML and integer kernels divide; the two part on ties. An
int8 runtime that accumulates exactly equals this reference.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Interpreter

from edgekit.models.program import Program

decomposed = torch.ops.quantized_decomposed


class Dividing(Interpreter):
    """Runs a quantized program as the formats compute it; its parameters in float64 (`in_float64`)."""

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As torch, but for quantize and dequantize."""
        if target is decomposed.quantize_per_tensor.default:
            return _quantize(args[0], args[1], args[2], args[3], args[4])
        if target is decomposed.dequantize_per_tensor.default:
            return (args[0] - args[2]) * _exact(args[1])
        if target is decomposed.quantize_per_channel.default:
            scale, zero = (_along(t, args[3], args[0].dim()) for t in args[1:3])
            return _quantize(args[0], scale, zero, args[4], args[5])
        if target is decomposed.dequantize_per_channel.default:
            scale, zero = (_along(t, args[3], args[0].dim()) for t in args[1:3])
            return (args[0] - zero) * scale
        return super().call_function(target, args, kwargs)


def reference_outputs(program: Program, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The outputs of `program` for inputs with the sample first, in float32; several calls of its own batch."""
    module = in_float64(program.exported.module(check_guards=False))
    batch = program.spec.inputs[0].shape[0]
    parts = []
    with torch.no_grad():
        for start in range(0, len(inputs[0]) - batch + 1, batch):
            feed = [torch.from_numpy(np.ascontiguousarray(a[start : start + batch])) for a in inputs]
            result = Dividing(module).run(*(t.double() if t.is_floating_point() else t for t in feed))
            outputs = (result,) if isinstance(result, Tensor) else tuple(result)
            parts.append([t.to(torch.float32).numpy() if t.is_floating_point() else t.numpy() for t in outputs])
    return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def in_float64(module: torch.nn.Module) -> torch.nn.Module:
    """`module`, changed in place: its own parameters and buffers in float64."""
    for name, value in list(module.named_parameters()) + list(module.named_buffers()):
        if value.is_floating_point():
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, _parameter(value))
    return module


def output_steps(program: Program) -> tuple[float | None, ...]:
    """The scale of each output, one LSB; None for an output that is float."""
    output: Any = next(node for node in program.exported.graph.nodes if node.op == "output")
    results = output.args[0]
    named = results if isinstance(results, tuple | list) else (results,)
    dequantize = decomposed.dequantize_per_tensor.default
    return tuple(float(n.args[1]) if n.target is dequantize else None for n in named)


def _quantize(value: Tensor, scale: Any, zero: Any, low: int, high: int) -> Tensor:
    return torch.clamp(torch.round(value / _exact(scale)) + zero, low, high)


def _exact(scale: Any) -> Any:
    """The scale as every format stores it: float32."""
    return scale if isinstance(scale, Tensor) else float(np.float32(scale))


def _along(values: Tensor, axis: int, rank: int) -> Tensor:
    return values.double().reshape([-1 if i == axis else 1 for i in range(rank)])


def _parameter(value: Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(value.detach().double(), requires_grad=False)
