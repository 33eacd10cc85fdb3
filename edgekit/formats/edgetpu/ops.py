"""The ops of a .tflite file as the Edge TPU sees them, and what of them cuts layers off.

The compiler divides a file once: what the Edge TPU cannot run goes to the processor, with all that comes behind it.
Only the quantize of a float input may stand in front (https://coral.ai/docs/edgetpu/models-intro/, "Float input and
output tensors" and "Compiling").
"""

from collections.abc import Sequence
from typing import Any

from edgekit.formats.edgetpu.rules import TYPES, TpuOp, TpuTensor, violations
from edgekit.formats.tflite_file import constant_of, dtype_of, kind_of, read_file, shape_of
from edgekit.formats.tflite_ops import LAYER_OPS, names_of
from edgekit.formats.tflite_values import module_paths
from edgekit.formats.violation import Violation
from edgekit.models.extras import require

_AXES_AS_INPUT = {"MEAN": 1, "SUM": 1, "REDUCE_MAX": 1, "REDUCE_MIN": 1, "SPLIT": 0, "PAD": 1}
"""Which input holds the axes that an op works along; of a pad it is the amounts, of which those above 0 tell."""


def mapped_layers(content: bytes, runtime: int) -> tuple[tuple[Violation, ...], int]:
    """What cuts int8 layers of a file off, in order, and how many int8 layers the Edge TPU runs."""
    model = read_file(content)
    graph = model.subgraphs[0]
    given = {int(i) for i in graph.inputs}
    ops = [_op(op, model, graph) for op in graph.operators]
    broken = [
        () if _leads(op, takes_input=int(raw.inputs[0]) in given) else violations(op, runtime)
        for op, raw in zip(ops, graph.operators, strict=True)
    ]
    behind: dict[int, frozenset[int]] = {}
    mapped, wrong = 0, set[int]()
    for i, raw in enumerate(graph.operators):
        cuts = frozenset[int]().union(*(behind.get(int(t), frozenset()) for t in raw.inputs), {i} if broken[i] else ())
        behind |= {int(t): cuts for t in raw.outputs}
        if _is_int8_layer(ops[i]):
            wrong |= cuts
            mapped += not cuts
    return tuple(v for i in sorted(wrong) for v in broken[i]), mapped


def _leads(op: TpuOp, *, takes_input: bool) -> bool:
    """Whether an op only leads from a model's float input or to float, and may stay on the processor.

    What is float behind a dequantize breaks a rule itself.
    """
    return op.kind == "DEQUANTIZE" or (op.kind == "QUANTIZE" and takes_input)


def _is_int8_layer(op: TpuOp) -> bool:
    return op.kind in LAYER_OPS and any(t is not None and t.is_constant and t.dtype in TYPES for t in op.takes[:2])


def _op(op: Any, model: Any, graph: Any) -> TpuOp:
    schema = require("ai_edge_litert.schema_py_generated", extra="tflite")
    kind, options = kind_of(op, model), op.builtinOptions
    takes = tuple(None if i < 0 else _tensor(graph.tensors[i], model) for i in op.inputs)
    gives = tuple(_tensor(graph.tensors[i], model) for i in op.outputs)
    activation = int(getattr(options, "fusedActivationFunction", 0))
    strides = constant_of(graph.tensors[op.inputs[3]], model) if kind == "STRIDED_SLICE" else None
    return TpuOp(
        layer=_layer(graph.tensors[op.outputs[0]] if len(op.outputs) else None, kind), kind=kind, takes=takes,
        gives=gives, activation=names_of(schema.ActivationFunctionType).get(activation, "NONE"),
        dilation=(int(getattr(options, "dilationHFactor", 1)), int(getattr(options, "dilationWFactor", 1))),
        axes=_axes(op, kind, model, graph), strides=() if strides is None else tuple(int(s) for s in strides),
        are_masks_plain=not any(int(getattr(options, name, 0)) for name in ("ellipsisMask", "newAxisMask")),
        are_weights_plain=int(getattr(options, "weightsFormat", 0)) == 0,
    )  # fmt: skip


def _axes(op: Any, kind: str, model: Any, graph: Any) -> tuple[int, ...]:
    """The axes that an op works along, counted from the first."""
    if kind == "PACK":
        return (int(op.builtinOptions.axis),)
    if (place := _AXES_AS_INPUT.get(kind)) is None:
        return ()
    values = constant_of(graph.tensors[op.inputs[place]], model)
    if values is None:
        return ()
    if kind == "PAD":
        return tuple(i for i, amounts in enumerate(values) if amounts.any())
    rank = len(shape_of(graph.tensors[op.inputs[1 if kind == "SPLIT" else 0]]))
    return tuple(int(v) % max(rank, 1) for v in values.reshape(-1))


def _tensor(tensor: Any, model: Any) -> TpuTensor:
    values = constant_of(tensor, model)
    scales, zeros = (getattr(tensor.quantization, name, None) for name in ("scale", "zeroPoint"))
    zero = int(zeros[0]) if zeros is not None and len(zeros) == 1 else 0
    return TpuTensor(
        dtype=dtype_of(tensor), shape=shape_of(tensor), is_constant=model.buffers[tensor.buffer].data is not None,
        is_zero=values is not None and not (values != zero).any(), scales=1 if scales is None else len(scales),
    )  # fmt: skip


def _layer(tensor: Any, kind: str) -> str:
    """The module that an op was made of, as far as the name of what it gives tells; else the op's kind."""
    name = (tensor.name or b"").decode(errors="replace") if tensor is not None else ""
    paths: Sequence[tuple[str, ...]] = module_paths(name)
    words = [".".join(part.rpartition(".")[2].partition("_")[2] for part in path) for path in paths if path]
    return next((word for word in words if word), kind)
