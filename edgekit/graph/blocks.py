"""4-bit weights as INT4 behind a DequantizeLinear of blocks: the standard's form, which TensorRT's parser reads."""

import numpy as np
import onnx_ir as ir

from edgekit.errors import TargetError
from edgekit.graph.values import add_constant_, drop_unused_, insert_before_
from edgekit.graph.weights import StoredLayers, Weight, layers_of, stored_in

BLOCKS, INT4_OPSET = (64, 128), 21
"""The sizes of a group that TensorRT's documentation names for INT4, and the first opset that has the type."""


def block_weights_(model: ir.Model, stored: StoredLayers) -> ir.Model:
    """4-bit weights of linear layers as INT4 behind a DequantizeLinear of blocks, which TensorRT reads; opset 21.

    Raises: TargetError naming a layer that has no such form.
    """
    for weight, (layer, _) in stored_in(model, stored):
        group = weight.steps.size // weight.scales.size
        for reader in list(layers_of(weight.dequantize.outputs[0])):
            if reader.op_type not in ("MatMul", "Gemm") or group not in BLOCKS:
                what = f"{group} share a scale" if reader.op_type in ("MatMul", "Gemm") else "it is a convolution"
                raise TargetError(
                    f"layer {layer}: 4-bit weights are those of linear layers whose input channels fall into groups of "
                    f"{' or '.join(map(str, BLOCKS))}, and {what}: give it another precision"
                )
            _block_(model, reader, weight, group)
    return drop_unused_(model)


def _block_(model: ir.Model, node: ir.Node, weight: Weight, group: int) -> None:
    """Gives `node` its weight with the inputs first, as MatMul takes it."""
    steps = np.ascontiguousarray(weight.steps.T.astype(ir.DataType.INT4.numpy()))
    scales = weight.scales.astype(np.float32).reshape(weight.steps.shape[0], -1).T
    values: list[ir.Value | None] = [
        add_constant_(model.graph, f"{weight.name}_int4", steps),
        add_constant_(model.graph, f"{weight.name}_scales", np.ascontiguousarray(scales)),
    ]
    made = insert_before_(
        node, "DequantizeLinear", values, f"{weight.name}_for_{node.outputs[0].name}", axis=0, block_size=group
    )
    node.replace_input_with(1, made)
    if "transB" in node.attributes:
        del node.attributes["transB"]
    model.opset_imports[""] = max(model.opset_imports.get("", 0), INT4_OPSET)
