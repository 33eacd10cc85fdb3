"""From the file that torch writes to the file that a device gets."""

import onnx_ir as ir
from onnx_ir.passes.common import (
    DeduplicateInitializersPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
)
from onnxscript import optimizer

from edgekit.core.target import Target
from edgekit.graph.biases import int8_biases_
from edgekit.graph.blocks import block_weights_
from edgekit.graph.ceiling import keep_ceiling_
from edgekit.graph.floats import keep_float_
from edgekit.graph.fold import fold_weights_, halve_constants_, pad_inside_, pool_globally_, split_by_sizes_
from edgekit.graph.relabel import clip_behind_quantize_, drop_clipped_relus_, relabel_uint8_
from edgekit.graph.stored import store_
from edgekit.graph.values import drop_unused_
from edgekit.graph.weights import StoredLayers
from edgekit.graph.written import keep_places_

NOTHING: StoredLayers = {}


def settle_(model: ir.Model) -> ir.Model:
    """The file as torch's exporter writes it, with what is constant computed and every q/dq under its own name."""
    optimizer.fold_constants(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    keep_places_(model)
    split_by_sizes_(model)
    return drop_unused_(model)


def finish_(
    model: ir.Model, target: Target, inputs: tuple[str, ...], outputs: tuple[str, ...],
    stored: StoredLayers = NOTHING,
) -> ir.Model:  # fmt: skip
    """A settled file in the form that the target's runtime runs fast, within its ceiling.

    `stored` has the layers whose weights are stored as no static layer's are.

    Raises: TargetError naming the op that its opset cannot hold, or the layer whose 4-bit weights no form holds.
    """
    fold_weights_(model)
    halve_constants_(model)
    pool_globally_(model)
    pad_inside_(model)
    if target.numerics.scales == "power-of-two":
        int8_biases_(model)
    if target.runtime == "onnxruntime":
        clip_behind_quantize_(model)
    if target.numerics.activations == "uint8-affine" or _is_symmetric_on_x86(target):
        relabel_uint8_(model)
    if target.runtime == "onnxruntime":
        drop_clipped_relus_(model)
        store_(model, stored)
        keep_float_(model)
    else:
        block_weights_(model, stored)
    IdentityEliminationPass()(model)
    DeduplicateInitializersPass()(model)
    _forget_shapes_(model)
    _name_ends_(model, inputs, outputs)
    return keep_ceiling_(model, opset=target.limits.opset, ir_version=target.limits.ir_version)


def _is_symmetric_on_x86(target: Target) -> bool:
    """onnxruntime's fast kernels on x86 take uint8, symmetric or not."""
    symmetric = target.numerics.activations == "int8-symmetric" and target.runtime == "onnxruntime"
    return symmetric and ("arch", "x86_64") in target.requires


def _forget_shapes_(model: ir.Model) -> None:
    """The runtime infers the shapes and types inside; those written down are of the file before the passes."""
    outputs = set(model.graph.outputs)
    for node in model.graph:
        for value in node.outputs:
            if value not in outputs:
                value.shape = value.type = None


def _name_ends_(model: ir.Model, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Inputs and outputs get the model's names; a value inside that had such a name gets another."""
    ends = {*model.graph.inputs, *model.graph.outputs}
    taken = {*inputs, *outputs}
    inside = (value for node in model.graph for value in node.outputs)
    for value in (*inside, *list(model.graph.initializers.values())):
        if value not in ends and value.name in taken:
            value.name = f"{value.name}_inside"
    for values, names in ((model.graph.inputs, inputs), (model.graph.outputs, outputs)):
        for value, name in zip(values, names, strict=True):
            value.name = name
