"""A file with bfloat16 for a runtime that has none: values are rounded where the file casts them, and computed on."""

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_constant_, insert_behind_

BFLOAT16, FLOAT = ir.DataType.BFLOAT16, ir.DataType.FLOAT


def has_bfloat16(model: ir.Model) -> bool:
    """Whether a file casts to bfloat16."""
    return any(_casts(node) for node in model.graph)


def in_float32(model: ir.Model) -> ir.Model:
    """`model`, changed in place: float32 throughout, with the values that bfloat16 has where it is cast to it."""
    for value in list(model.graph.initializers.values()):
        if value.dtype is BFLOAT16 and value.const_value is not None:
            wide = add_constant_(model.graph, f"{value.name}_wide", value.const_value.numpy().astype(np.float32))
            for use in list(value.uses()):
                use.node.replace_input_with(use.idx, wide)
            del model.graph.initializers[str(value.name)]
    for node in [node for node in model.graph if _casts(node)]:
        rounded = node.outputs[0]
        takers = list(rounded.uses())
        wide = insert_behind_(node, "Cast", [rounded], f"{rounded.name}_wide", to=FLOAT.value)
        for use in takers:
            use.node.replace_input_with(use.idx, wide)
    return model


def _casts(node: ir.Node) -> bool:
    return node.op_type == "Cast" and node.attributes["to"].as_int() == BFLOAT16.value
