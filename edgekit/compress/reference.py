"""The host's reference: what a quantized program computes, in float64, dividing by the scale as the formats do.

torch multiplies by the reciprocal of a scale where ONNX, Core ML and integer kernels divide; the two part on ties. An
int8 runtime that accumulates exactly equals this reference. What is cast to half is rounded to it and
computed exactly.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Interpreter, Node
from torch.utils._pytree import tree_map

from edgekit.compress.dynamic import CHOOSES, MEASURES, QUANTIZES_BY, chosen
from edgekit.compress.half import CASTS, HALVES
from edgekit.models.batches import batch_of, in_batches
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
        if target in MEASURES:
            return _at_run_time(target, args)
        if target is CASTS and kwargs.get("dtype") in HALVES.values():
            return args[0].to(kwargs["dtype"]).double()
        args, kwargs = tree_map(_wide, (args, kwargs))
        return super().call_function(target, args, kwargs)


def watching(kind: type[Interpreter], module: torch.nn.Module, names: Iterable[str]) -> Any:
    """A machine of this kind for `module`; what the nodes called `names` give is in its `seen` after each run."""

    class Watching(kind):  # type: ignore[valid-type, misc]
        watched, seen = frozenset(names), dict[str, np.ndarray]()

        def run_node(self, n: Node) -> Any:
            result = super().run_node(n)
            if n.name in self.watched:  # noted at once, before an op changes it in place
                self.seen[n.name] = np.array(_to_array(result))
            return result

    return Watching(module)


def reference_outputs(
    program: Program, inputs: tuple[np.ndarray, ...], batch: Sequence[int] = ()
) -> tuple[np.ndarray, ...]:
    """The outputs of `program` for inputs with the sample first, in float32; several calls.

    `batch` are the rows of each input in one, by default those of the example.
    """
    machine = Dividing(_exact_module(program))
    return _by_batch(program, machine, inputs, lambda outputs: [*map(_to_array, outputs)], batch)


def reference_values(program: Program, names: Sequence[str], inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """As `reference_outputs`, of the nodes called `names` in `program`'s module."""
    machine = watching(Dividing, _exact_module(program), names)
    return _by_batch(program, machine, inputs, lambda _: [machine.seen[name] for name in names])


def _by_batch(
    program: Program, machine: Interpreter, inputs: tuple[np.ndarray, ...],
    pick: Callable[[Sequence[Tensor]], list[np.ndarray]], batch: Sequence[int] = (),
) -> tuple[np.ndarray, ...]:  # fmt: skip
    def call(batch: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        feed = [torch.from_numpy(array) for array in batch]
        with torch.no_grad():
            result = machine.run(*(t.double() if t.is_floating_point() else t for t in feed))
        return pick((result,) if isinstance(result, Tensor) else result)

    return in_batches(call, inputs, batch or batch_of(program.spec))


def output_steps(program: Program) -> tuple[float | None, ...]:
    """The scale of each output, one LSB; None for an output that is float."""
    output: Any = next(node for node in program.exported.graph.nodes if node.op == "output")
    results = output.args[0]
    named = results if isinstance(results, tuple | list) else (results,)
    dequantize = decomposed.dequantize_per_tensor.default
    return tuple(float(n.args[1]) if n.target is dequantize else None for n in named)


def in_float64(module: torch.nn.Module) -> torch.nn.Module:
    """`module`, changed in place: its own parameters and buffers in float64."""
    for name, value in list(module.named_parameters()) + list(module.named_buffers()):
        if value.is_floating_point():
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, _parameter(value))
    return module


def _exact_module(program: Program) -> torch.nn.Module:
    return in_float64(program.exported.module(check_guards=False))


def _to_array(value: Tensor) -> np.ndarray:
    return value.to(torch.float32).numpy() if value.is_floating_point() else value.numpy()


def _quantize(value: Tensor, scale: Any, zero: Any, low: int, high: int) -> Tensor:
    return torch.clamp(torch.round(value / _exact(scale)) + zero, low, high)


def _at_run_time(target: Any, args: tuple[Any, ...]) -> Any:
    """As torch, but that a scale is float32, and divided by."""
    if target is CHOOSES:
        return chosen(args[0], args[1], args[2])
    if target is QUANTIZES_BY:
        return torch.clamp(torch.round(args[0] / args[1]) + args[2], args[3], args[4])
    return (args[0] - args[2]) * args[1]


def _wide(value: Any) -> Any:
    """float64 where an op is asked for float32: a float32 mask beside float64 values is misread by attention."""
    return torch.float64 if value is torch.float32 else value


def _exact(scale: Any) -> Any:
    """The scale as every format stores it: float32."""
    return scale if isinstance(scale, Tensor) else float(np.float32(scale))


def _along(values: Tensor, axis: int, rank: int) -> Tensor:
    return values.double().reshape([-1 if i == axis else 1 for i in range(rank)])


def _parameter(value: Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(value.detach().double(), requires_grad=False)
