"""Where in the user's code an op of an ONNX file comes from: known while the file is made, written into none."""

import ast

import onnx_ir as ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from edgekit.models.model import place_in_words

_EXPORTER = "pkg.torch.onnx"
_KEY = "edgekit.written_at"


def written_at(node: ir.Node) -> str:
    """As `edgekit.models.model.written_at`, of a node of a file; the op's own name where it is not known."""
    return node.metadata_props.get(_KEY) or (f"node {node.name}: " if node.name else "")


def keep_places_(model: ir.Model) -> ir.Model:
    """`model` as the exporter wrote it, of whose notes on each node only the place is left."""
    places = [(node, _place(node)) for node in model.graph]
    ClearMetadataAndDocStringPass()(model)
    for node, place in places:
        if place:
            node.metadata_props[_KEY] = place
    return model


def forget_places_(model: ir.Model) -> ir.Model:
    """`model` without the places, as it is written."""
    for node in model.graph:
        node.metadata_props.pop(_KEY, None)
    return model


def _place(node: ir.Node) -> str:
    scopes, kinds = (
        ast.literal_eval(node.metadata_props.get(f"{_EXPORTER}.{key}", "[]"))
        for key in ("name_scopes", "class_hierarchy")
    )
    modules = list(zip(scopes, kinds, strict=False))[:-1]  # the last is the op
    path, kind = modules[-1] if modules else ("", "")
    return place_in_words(path, kind, node.metadata_props.get(f"{_EXPORTER}.stack_trace", ""))
