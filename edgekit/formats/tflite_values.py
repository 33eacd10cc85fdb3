"""The values inside a .tflite file: a copy of it that gives them as outputs too, run by LiteRT with XNNPACK.

LiteRT can keep all tensors of a file, but then runs it by its built-in kernels, which round otherwise. A value that is
an output is written by the kernel that a device runs.

The converter keeps module names in the names of tensors, and an op's kind says the rest: a layer is the op of its kind
that carries its module's name, in order where there are several. An op that is not found so is not shown.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgekit.core.layer import LayerSpec
from edgekit.formats.base import Probe, Tap
from edgekit.formats.tflite_file import kind_of, read_file, shape_of, write_file
from edgekit.formats.tflite_ops import LAYER_OPS

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
LAYERS = (*CONVOLUTIONS, "FULLY_CONNECTED")
"""What a convolution may be: one of one place with 4-bit weights is a linear layer."""
POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
KINDS = {
    "conv1d": LAYERS, "conv2d": LAYERS, "linear": ("FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D"),
    "add": ("ADD",), "mul": ("MUL",), "cat": ("CONCATENATION",), "matmul": ("BATCH_MATMUL",), "bmm": ("BATCH_MATMUL",),
    "mean": ("MEAN", "AVERAGE_POOL_2D"), "adaptive_avg_pool2d": ("MEAN", "AVERAGE_POOL_2D"),
    "avg_pool2d": ("AVERAGE_POOL_2D",), "max_pool2d": ("MAX_POOL_2D",), "softmax": ("SOFTMAX",),
    "sigmoid": ("LOGISTIC",), "gelu": ("GELU",), "hardswish": ("HARD_SWISH",),
}  # fmt: skip
"""What litert-torch makes of an op."""
FOLLOWED = ("QUANTIZE", "RELU", "RELU6")
"""What may stand behind an op and still be its result."""
CHANNELS_LAST = (0, 3, 1, 2)


class _Op(NamedTuple):
    """An op; `rank` counts the sizes of what it gives."""

    kind: str
    takes: tuple[int, ...]
    gives: int
    rank: int
    modules: tuple[tuple[str, ...], ...]
    """The paths in the name of what it gives, each a word a module: `container.Sequential_stem`."""


def probe_tflite(path: Path, layers: Sequence[LayerSpec], folder: Path) -> Probe:
    """A copy in `folder` of the file at `path` whose outputs are its own and, behind them, the layers that it has."""
    model = read_file(path.read_bytes())
    graph = model.subgraphs[0]
    ops = _ops(model, graph)
    found = {layer: _end(op, ops) for layer, op in _matched(layers, ops).items()}
    own = [int(i) for i in graph.outputs]
    places = own + [i for i in dict.fromkeys(found.values()) if i not in own]
    graph.outputs = places
    for signature in model.signatureDefs or ():
        signature.outputs = signature.outputs[: len(own)]
    (folder / path.name).write_bytes(write_file(model, path.stat().st_size))
    last = _channels_last(ops)
    taps = tuple(
        Tap(layer=layer, place=places.index(at), order=CHANNELS_LAST if at in last else ())
        for layer, at in found.items()
    )
    return Probe(folder / path.name, len(own), taps)


def _ops(model: Any, graph: Any) -> tuple[_Op, ...]:
    found = []
    for op in graph.operators:
        gives = int(op.outputs[0]) if len(op.outputs) else -1
        name = (graph.tensors[gives].name or b"").decode(errors="replace") if gives >= 0 else ""
        rank = len(shape_of(graph.tensors[gives])) if gives >= 0 else 0
        found.append(_Op(kind_of(op, model), tuple(int(i) for i in op.inputs), gives, rank, module_paths(name)))
    return tuple(found)


def module_paths(name: str) -> tuple[tuple[str, ...], ...]:
    """The module paths in a tensor's name.

    >>> module_paths("Net;;Net/torch.nn.Sequential_stem/torch.nn.Conv2d_0;1")
    ((), ('torch.nn.Sequential_stem', 'torch.nn.Conv2d_0'))
    """
    return tuple(
        tuple(part.rpartition(";")[0].split("/")[1:]) for part in (f"{name};" if ";" not in name else name).split(";;")
    )


def _matched(layers: Sequence[LayerSpec], ops: Sequence[_Op]) -> dict[str, _Op]:
    """The op of each layer that is found."""
    found: dict[str, _Op] = {}
    groups: dict[tuple[str, tuple[str, ...]], list[LayerSpec]] = defaultdict(list)
    for spec in layers:
        groups[spec.module, KINDS.get(spec.op, ())].append(spec)
    for (module, kinds), specs in groups.items():
        some = [op for op in ops if op.kind in kinds and any(_is_module(path, module) for path in op.modules)]
        if len(some) == len(specs):
            found |= {spec.name: op for spec, op in zip(specs, some, strict=True)}
    lost = [s for s in layers if s.name not in found and set(KINDS.get(s.op, ())) & LAYER_OPS]
    left = [op for op in ops if op.kind in LAYER_OPS and op not in found.values()]
    if len(lost) == len(left):
        found |= {spec.name: op for spec, op in zip(lost, left, strict=True)}
    return found


def _is_module(path: tuple[str, ...], module: str) -> bool:
    """Whether a path in a tensor's name is that of the module.

    >>> _is_module(("torch.nn.Sequential_stem", "torch.nn.Conv2d_0"), "stem.0")
    True
    """
    words = module.split(".") if module else []
    return len(words) == len(path) and all(p.endswith(f"_{w}") for p, w in zip(path, words, strict=True))


def _end(op: _Op, ops: Sequence[_Op]) -> int:
    """The tensor that is the op's result: behind a quantize or an activation that only it feeds."""
    at = op.gives
    while len(after := [o for o in ops if at in o.takes]) == 1 and after[0].kind in FOLLOWED:
        at = after[0].gives
    return at


def _channels_last(ops: Sequence[_Op]) -> frozenset[int]:
    """The tensors of four sizes that hold their channels last: what convolutions make, and what is computed of that."""
    found: set[int] = set()
    for op in ops:
        inherits = op.kind not in ("TRANSPOSE", "RESHAPE", "BATCH_MATMUL", "MEAN") and op.rank == len(CHANNELS_LAST)
        if op.kind in CONVOLUTIONS + POOLS or (inherits and found & set(op.takes)):
            found.add(op.gives)
    return frozenset(found)
