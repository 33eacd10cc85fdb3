"""A file within the opset and IR version that a runtime reads, proved or refused."""

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import TargetError
from edgekit.graph.values import constant
from edgekit.graph.written import written_at

LEAST_OPSET = 13
"""Below it, softmax, q/dq per channel and ReduceSum mean something else."""


def keep_ceiling_(model: ir.Model, *, opset: int | None, ir_version: int | None) -> ir.Model:
    """The file within what a runtime reads: each op written as the older opset has it.

    Raises: TargetError naming the op that the older opset cannot hold.
    """
    if ir_version is not None and model.ir_version > ir_version:
        model.ir_version = ir_version
    have = model.opset_imports.get("", 0)
    if opset is None or have <= opset:
        return model
    if opset < LEAST_OPSET:
        raise TargetError(f"the target reads opset {opset} at most, and edgekit writes {LEAST_OPSET} or newer")
    for node in list(model.graph):
        if node.domain == "":
            _rewrite_(node, have, opset)
    model.opset_imports[""] = opset
    _prove(model, opset)
    return model


def _rewrite_(node: ir.Node, have: int, opset: int) -> None:
    """Writes `node` by the schema of `opset`."""
    try:
        new, old = (onnx.defs.get_schema(node.op_type, version) for version in (have, opset))
    except onnx.defs.SchemaError:
        raise TargetError(_refusal(node, opset, "is newer than it")) from None
    if new.since_version == old.since_version:
        return
    if node.op_type.startswith("Reduce") and len(node.inputs) > len(old.inputs):
        _axes_to_attribute_(node, opset)
    for name in [n for n in node.attributes if n not in old.attributes]:
        if not _is_default(node.attributes[name], new) and not _says_nothing(node, node.attributes[name]):
            raise TargetError(_refusal(node, opset, f"has no attribute {name}"))
        del node.attributes[name]
    if len(node.inputs) > len(old.inputs) and not _variadic(old):
        raise TargetError(_refusal(node, opset, f"takes {len(old.inputs)} inputs"))


def _axes_to_attribute_(node: ir.Node, opset: int) -> None:
    axes = constant(node.inputs[1])
    if axes is None:
        raise TargetError(_refusal(node, opset, "wants constant axes"))
    node.resize_inputs(1)
    if axes.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(a) for a in np.ravel(axes)])


def _is_default(attribute: ir.Attr, schema: onnx.defs.OpSchema) -> bool:
    """Whether an attribute says what its absence says."""
    known = schema.attributes.get(attribute.name)
    if known is None or not known.default_value.name:
        return False
    value = onnx.helper.get_attribute_value(known.default_value)
    return bool((value.decode() if isinstance(value, bytes) else value) == attribute.value)


def _says_nothing(node: ir.Node, attribute: ir.Attr) -> bool:
    """Dilations of one, zeros, and allowzero of a shape without zeros are what every older version does."""
    value = attribute.value
    if attribute.name == "allowzero":
        shape = constant(node.inputs[1])
        return shape is not None and bool(np.all(shape != 0))
    return not value or (isinstance(value, tuple | list) and attribute.name == "dilations" and set(value) == {1})


def _variadic(schema: onnx.defs.OpSchema) -> bool:
    return bool(schema.inputs) and schema.inputs[-1].option == onnx.defs.OpSchema.FormalParameterOption.Variadic


def _prove(model: ir.Model, opset: int) -> None:
    """The checker and type inference of ONNX must take the file at its new opset.

    Raises: TargetError.
    """
    proto = ir.to_proto(model)
    try:
        onnx.checker.check_model(proto)
        onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise TargetError(f"the file cannot be written in opset {opset}: {said}") from error


def _refusal(node: ir.Node, opset: int, why: str) -> str:
    ceiling = f"cannot be written in opset {opset}, the target's ceiling"
    return f"{written_at(node)}op {node.op_type} {ceiling}: it {why} there"
