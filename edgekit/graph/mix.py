"""A mix of an all-int8 file: some quantize/dequantize pairs left out, weights and biases float again.

Which, is not decided here: it is a set of dequantize names, the same that the torch program's mix leaves out
(compress/relax.py), because the lowering keeps those names. So a mix of the file equals the file of the mix.
"""

from collections.abc import Mapping, Set

import numpy as np
import onnx_ir as ir

from edgekit.errors import ConvertError
from edgekit.graph.values import drop_unused_, made_by


def mix(full: ir.Model, bypassed: Set[str], floats: Mapping[str, np.ndarray]) -> ir.Model:
    """A copy of `full` (float weights in front of their q/dq) without the dequantize nodes named in `bypassed`.

    `floats` are values for initializers of those names. A quantize that nothing dequantizes any more goes too.

    Raises: ConvertError naming a dequantize or an initializer that the file lacks.
    """
    model = full.clone()
    graph = model.graph
    makers = {value.name: node for node in graph for value in node.outputs}
    for name in sorted(bypassed):
        node = makers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            raise ConvertError(f"the ONNX file lost {name}: its q/dq cannot be taken out")
        _read_instead_(graph, node.outputs[0], _before_quantize(node))
    for name, array in floats.items():
        value = graph.initializers.get(name)
        if value is None:
            raise ConvertError(f"the ONNX file lost {name}: its layer cannot be float again")
        value.const_value = ir.tensor(np.ascontiguousarray(array), name=name)
    return drop_unused_(model)


def _before_quantize(dequantize: ir.Node) -> ir.Value:
    """The float value that `dequantize` gives back; a Clip of a weight's steps may lie between."""
    value = dequantize.inputs[0]
    if (clip := made_by(value, "Clip")) is not None:
        value = clip.inputs[0]
    quantize = made_by(value, "QuantizeLinear")
    source = None if quantize is None else quantize.inputs[0]
    if source is None:
        raise ConvertError(f"{dequantize.name}: nothing quantizes what it dequantizes")
    return source


def _read_instead_(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    for use in list(old.uses()):
        use.node.replace_input_with(use.idx, new)
    for i, output in enumerate(graph.outputs):
        if output is old:
            new.shape, new.type = old.shape, old.type
            graph.outputs[i] = new
