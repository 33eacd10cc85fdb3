"""The values inside an ONNX file: a copy of it that gives them as outputs too, run by onnxruntime.

A value behind a QuantizeLinear is given as the integers that it is: were the float before it asked for, onnxruntime
could not run the op that makes it in int8. So the copy is optimized as the file is, which `observe` proves by comparing
the outputs of both.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.core.layer import LayerSpec
from edgekit.formats.base import Probe, Tap
from edgekit.models.extras import require

WEIGHTED = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("BatchNormalization", "Relu", "Clip")


def probe_onnx(path: Path, layers: Sequence[LayerSpec], folder: Path) -> Probe:
    """A copy in `folder` of the file at `path` whose outputs are its own and, behind them, the layers that it has."""
    onnx = require("onnx", extra="onnx")
    model = onnx.load(path)
    found = _values(model.graph, layers)
    own = [value.name for value in model.graph.output]
    names = own + [name for name in dict.fromkeys(found.values()) if name not in own]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names[len(own) :])
    onnx.save(model, folder / path.name)
    taps = tuple(Tap(layer=layer, place=names.index(name)) for layer, name in found.items())
    return Probe(folder / path.name, len(own), taps)


def _values(graph: Any, layers: Sequence[LayerSpec]) -> dict[str, str]:
    """The value of each layer that the file has: by its name, else as what is made of the layer's weight."""
    have = {name for node in graph.node for name in node.output if name}
    by_weight = _made_of_weights(graph)
    found = {}
    for spec in layers:
        made = by_weight.get(f"{spec.module}.weight", [])
        at = int(spec.name.partition("#")[2] or 1) - 1
        if spec.value in have:
            found[spec.name] = spec.value
        elif not spec.step and at < len(made):
            found[spec.name] = made[at]
    return found


def _made_of_weights(graph: Any) -> dict[str, list[str]]:
    """By the name of a weight, what the ops that take it make, the activations behind them included."""
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    found: dict[str, list[str]] = defaultdict(list)
    for node in graph.node:
        if len(node.input) > 1 and node.op_type in WEIGHTED:
            value = node.output[0]
            while len(after := readers[value]) == 1 and after[0].op_type in ACTIVATIONS:
                value = after[0].output[0]
            found[node.input[1]].append(value)
    return found
