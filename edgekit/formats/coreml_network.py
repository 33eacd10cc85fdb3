"""Writes a program as a neural network of Core ML, the model of systems before iOS 15. Runs in a child process."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.target import Deployment
from edgekit.errors import ConvertError
from edgekit.formats.coreml_call import convert_by_coremltools, finish_, lost_weight, node_of, spelled_out
from edgekit.formats.coreml_ops import keep_weights_
from edgekit.formats.mil.deployment import PROGRAMS, level_of, system
from edgekit.formats.mil.grid import Grid, digest_of
from edgekit.formats.mil.weight_params import shrink_weights_, write_grid_

if TYPE_CHECKING:
    from edgekit.models.program import Program

_NEWER = ("common::detect_concat_interleave", "common::concat_to_pixel_shuffle")
"""They put layers of iOS 14 in the place of some that iOS 13 has."""
_SCALING = ("common::fuse_conv_scale", "common::fuse_conv_batchnorm")
"""They multiply weights, which takes them off their grids."""
_OF_IOS_14 = frozenset((
    "oneHot", "cumSum", "clampedReLU", "argSort", "pooling3d", "convolution3d", "globalPooling3d", "sliceBySize",
))  # fmt: skip
_INT32 = 131104
"""Of ArrayFeatureType: 64-bit integers are none of Core ML's."""
INSTEAD = f"write it with other torch calls, or take a target from {system(PROGRAMS)} on, whose models are ML programs"


def write_network(program: "Program", path: Path, deployment: Deployment) -> None:
    """Writes `program` at `path`, a .mlmodel file.

    Raises: ConvertError: an op that neural networks lack.
    """
    import coremltools as ct

    exported = spelled_out(program)
    half_weights_(exported)
    if level_of(deployment) < 14:
        split_selects_(exported.graph)
    grids: dict[bytes, tuple[str, Grid]] = {}

    def keep(grid: Grid, name: str) -> Any:
        from coremltools.converters.mil import Builder as mb  # noqa: N813

        grids[digest_of(grid.values)] = (name, grid)
        return mb.const(val=grid.values, name=name)

    keep_weights_(keep)
    pipeline = ct.PassPipeline()
    pipeline.remove_passes((*(_NEWER if level_of(deployment) < 14 else ()), *(_SCALING if program.precisions else ())))
    model = convert_by_coremltools(
        program, exported, lacks=f"neural networks have no such layer: {INSTEAD}", convert_to="neuralnetwork",
        minimum_deployment_target=ct.target.iOS14, pass_pipeline=pipeline,
    )  # fmt: skip
    spec = model.get_spec()
    _check_age(program, spec, deployment, exported.graph)
    _shrink_(program, spec, grids)
    finish_(spec, program)
    for feature, tensor in zip(spec.description.input, program.spec.inputs, strict=True):
        if not tensor.dtype.startswith("float"):
            feature.type.multiArrayType.dataType = _INT32
    path.write_bytes(spec.SerializeToString(deterministic=True))


def _shrink_(program: "Program", spec: Any, grids: dict[bytes, tuple[str, Grid]]) -> None:
    """Writes weights as their steps where they have some, else in the smallest form that changes none."""
    left = dict(grids)
    for layer in spec.neuralNetwork.layers:
        params = getattr(getattr(layer, layer.WhichOneof("layer")), "weights", None)
        if params is None or not len(params.floatValue):
            continue
        digest = digest_of(np.asarray(params.floatValue, np.float32))
        if digest in grids:
            write_grid_(params, grids[digest][1])
            left.pop(digest, None)
        else:
            shrink_weights_(params)
    for name, _ in left.values():
        raise ConvertError(f"model {program.spec.name} as Core ML: {lost_weight(name)}")


def half_weights_(exported: Any) -> None:
    """Rounds the weights of layers in half to it, and takes the casts of their values out.

    What a neural network stores in half is no word on what it computes in: that is the device's own choice.
    """
    import torch

    names = {**exported.graph_signature.inputs_to_parameters, **exported.graph_signature.inputs_to_buffers}
    for node in list(exported.graph.nodes):
        if node.target is not torch.ops.aten._to_copy.default or not node.args[0].meta["val"].is_floating_point():
            continue
        name, dtype = names.get(node.args[0].name), node.kwargs.get("dtype")
        if dtype not in (torch.float16, torch.float32):
            continue
        if name is not None and dtype is torch.float16:
            exported.state_dict[name] = exported.state_dict[name].half().float()
        node.kwargs = {"dtype": torch.float32}
        node.replace_all_uses_with(node.args[0], delete_user_cb=lambda user: user.op != "output")
    exported.graph.eliminate_dead_code()


def split_selects_(graph: Any) -> None:
    """Takes one place of an axis by a slice and a squeeze: iOS 13 has no slice that drops its axis."""
    import torch

    aten = torch.ops.aten
    for node in list(graph.nodes):
        if node.target is not aten.select.int:
            continue
        value, axis, place = node.args
        with graph.inserting_before(node):
            end = place + 1 if place != -1 else value.meta["val"].shape[axis]
            part = graph.call_function(aten.slice.Tensor, (value, axis, place, end))
            part.meta = dict(node.meta) | {
                "val": value.meta["val"].narrow(axis, place % value.meta["val"].shape[axis], 1)
            }
        node.target, node.args = aten.squeeze.dim, (part, axis)


def _check_age(program: "Program", spec: Any, deployment: Deployment, graph: Any) -> None:
    """Return if the oldest system of the target knows all layers. Raises: ConvertError naming one that it does not."""
    from edgekit.models.model import written_at

    wanted = {13: 4, 14: 5}[level_of(deployment)]
    nodes = {node.name: node for node in graph.nodes}
    for layer, kind in _newer(spec.neuralNetwork.layers) if wanted < 5 else ():
        node = node_of(layer.name, nodes)
        where = f"{written_at(node)}op {node.target}" if node is not None else f"layer {layer.name}"
        raise ConvertError(
            f"model {program.spec.name} cannot be written as Core ML: {where}, a neural network's {kind}, came with "
            f"{system(14)}, the target is for {system(level_of(deployment))}: {INSTEAD}"
        )
    if spec.specificationVersion <= wanted:
        return
    raise ConvertError(
        f"model {program.spec.name} cannot be written as Core ML: the converter made a model of version "
        f"{spec.specificationVersion}, {system(level_of(deployment))} knows {wanted}: {INSTEAD}"
    )


def _newer(layers: Any) -> Iterator[tuple[Any, str]]:
    """The layers, or ways of layers, that iOS 13 does not know, and what they are called."""
    for layer in layers:
        kind = layer.WhichOneof("layer")
        if kind in _OF_IOS_14:
            yield layer, kind
        elif kind == "upsample" and layer.upsample.linearUpsampleMode:
            yield layer, "bilinear upsample by corners"
        elif kind == "reorganizeData" and layer.reorganizeData.mode == 2:
            yield layer, "pixel shuffle"
        elif kind == "concatND" and layer.concatND.interleave:
            yield layer, "interleaved concatenation"
        elif kind == "tile" and len(layer.input) == 2:
            yield layer, "tile of free size"
        elif kind in {"sliceStatic", "sliceDynamic"} and any(getattr(layer, kind).squeezeMasks):
            yield layer, "slice that drops an axis"
