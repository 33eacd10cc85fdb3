"""One quantized program from a float model: every format lowers this one."""

from collections.abc import Container, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.compress.observers import activation_spec, best_power, least_power, weight_spec
from edgekit.compress.quantizer import EdgekitQuantizer, is_layer, layer_name
from edgekit.compress.relax import QuantizedLayer, carry_meta_, quantized_layers, relax_, set_parameter_
from edgekit.compress.rounding import round_weights_, watch
from edgekit.compress.settle import settle_
from edgekit.core.recipe import Quantize
from edgekit.core.target import Numerics
from edgekit.errors import ModelError, TargetError
from edgekit.models.data import Samples
from edgekit.models.model import Model, export_program
from edgekit.models.program import Program

PER_CHANNEL = ("int8-per-channel", "int8-per-channel-convs")
"""Weights whose convolutions have a scale a channel; by the first linear layers have too."""
MOST = 127
"""Steps of an int8 weight, and of an int8 bias, to either side of zero."""


def quantize(
    model: Model, step: Quantize, numerics: Numerics, calibration: Samples, *, features: tuple[str, ...] | None = None
) -> Program:
    """`model` as a program whose layers have the precisions of `step`, in the numerics of a target.

    Activation ranges are those of the float model on `calibration`; what "gptq" rounds by is taken there too.
    `features` are the device's: where all that the numerics name are missing, weights get 7 bits; None is "not known",
    and nothing is reduced.

    Raises: TargetError if the target has no int8, or one that edgekit does not make; ModelError if the model cannot be
    exported or a layer is unknown.
    """
    captured = export_program(model.module, model.example, model.spec.name)
    module = settle_(captured.module(check_guards=False))
    layers = tuple(dict.fromkeys(layer_name(n) for n in module.graph.nodes if is_layer(n)))
    int8 = _int8_layers(step, layers, model.spec.name)
    if not int8:
        return Program(captured, model.spec, layers)
    if "int8" not in numerics.precisions:
        raise TargetError(f"int8 was asked for, and the target holds {', '.join(numerics.precisions)}")
    powers = numerics.scales == "power-of-two"
    if powers and (numerics.activations, numerics.weights) != ("int8-symmetric", "int8-per-tensor"):
        raise TargetError(
            f"scales that are powers of two go with int8-symmetric activations and int8-per-tensor weights, "
            f"the target has {numerics.activations} and {numerics.weights}"
        )
    reduced = features is not None and bool(numerics.reduce_range_without)
    reduced = reduced and not set(features or ()) & set(numerics.reduce_range_without)
    quantizer = EdgekitQuantizer(
        activation_spec(numerics.activations, step.ranges, numerics.scales),
        weight_spec(per_channel=numerics.weights in PER_CHANNEL, reduced=reduced, scales=numerics.scales),
        linear=weight_spec(per_channel=numerics.weights == PER_CHANNEL[0], reduced=reduced, scales=numerics.scales),
        means_keep=powers,
    )
    batch = len(model.example[0])
    taken = watch(module, calibration, batch) if step.rounding == "gptq" else {}
    prepared = prepare_pt2e(module, quantizer)
    _calibrate(prepared, calibration, batch)
    converted = convert_pt2e(prepared, fold_quantize=False)
    module = relax_(converted, int8)
    weights, gains = round_weights_(module, taken)
    weights |= clip_weights_(module, weights) if powers else {}
    biases = snap_biases_(module, gains, int8=powers)
    exported = export_program(module, model.example, model.spec.name)
    carry_meta_(module.graph, exported.graph)
    return Program(exported, model.spec, layers, int8, weights | biases)


def clip_weights_(module: GraphModule, done: Container[str]) -> dict[str, np.ndarray]:
    """Clips the int8 weights that are not `done` to what their scale holds; the weights as they were, by name.

    A scale with the least error may be less than the range of its weight, and the ONNX that torch writes of a quantize
    has one range for all, which has a step more.
    """
    before: dict[str, np.ndarray] = {}
    for layer in quantized_layers(module.graph):
        if layer.weight in before or layer.weight in done:
            continue
        weight = attrgetter(layer.weight)(module).detach()
        most = float(MOST * _scale(module, layer.node.args[1]))
        before[layer.weight] = weight.numpy().copy()
        set_parameter_(module, layer.weight, weight.clamp(-most, most))
    return before


def snap_biases_(
    module: GraphModule, gains: Mapping[str, torch.Tensor], *, int8: bool = False
) -> dict[str, np.ndarray]:
    """Puts every int8 layer's bias, and what it gains, on the grid of integer kernels: multiples of s_x * s_w.

    Returns the biases as they were, by parameter name. Int8 kernels keep the bias as int32 with that scale; without
    this step a tenth of the outputs can differ by one step of the output's scale. `int8`: a DPU keeps a bias as int8
    with a power of two of its own, no finer than s_x * s_w: it is shifted up to the sums that it is added to.
    """
    before: dict[str, np.ndarray] = {}
    for layer in quantized_layers(module.graph):
        if layer.bias is None:
            continue
        value = attrgetter(layer.bias)(module).detach() if layer.bias not in before else before[layer.bias]
        value = torch.as_tensor(value)
        name = _own_bias_(module, layer) if layer.bias in before else layer.bias
        before[name] = value.numpy().copy()
        step = _scale(module, layer.node.args[0]) * _scale(module, layer.node.args[1])
        wanted = value.double() + gains.get(layer.name, 0.0)
        snapped = _int8_bias(wanted, step) if int8 else torch.round(wanted / step) * step
        set_parameter_(module, name, snapped.to(value.dtype))
    module.recompile()
    return before


def _int8_bias(wanted: torch.Tensor, finest: torch.Tensor) -> torch.Tensor:
    holds_all = least_power(wanted.abs().max() / MOST).clamp_min(finest)
    step = best_power(holds_all, wanted, 1.0, -MOST, MOST).clamp_min(finest)
    return torch.round(wanted / step).clamp(-MOST, MOST) * step


def _own_bias_(module: GraphModule, layer: QuantizedLayer) -> str:
    """A name for this call's own bias: a layer that is called twice reads two scales, so its bias has two grids."""
    name = f"{layer.bias}_of_{layer.node.name}"
    owner, _, leaf = name.rpartition(".")
    module.get_submodule(owner).register_parameter(leaf, torch.nn.Parameter(torch.zeros(1), requires_grad=False))
    with module.graph.inserting_before(layer.node):
        read = module.graph.get_attr(name)
    read.meta = dict(layer.node.args[2].meta)
    layer.node.update_arg(2, read)
    return name


def _scale(module: GraphModule, dequantize: Any) -> torch.Tensor:
    scale = dequantize.args[1]
    if isinstance(scale, Node):
        return attrgetter(str(scale.target))(module).double()
    return torch.tensor(float(scale), dtype=torch.float64)


def _int8_layers(step: Quantize, layers: tuple[str, ...], name: str) -> frozenset[str]:
    chosen = dict(step.layers)
    if unknown := sorted(set(chosen) - set(layers)):
        raise ModelError(f"model {name} has no layer {unknown[0]!r}; its layers: {', '.join(layers)}")
    return frozenset(layer for layer in layers if chosen.get(layer, step.default) == "int8")


def _calibrate(prepared: GraphModule, calibration: Samples, batch: int) -> None:
    """Runs every sample through the observers; the last, smaller batch is left out if shapes are fixed."""
    whole = [part for part in calibration.batches(batch) if len(part) == batch]
    if not whole:
        raise ModelError(f"calibration has {len(calibration)} samples, fewer than the example's batch of {batch}")
    with torch.no_grad():
        for part in whole:
            prepared(*(torch.from_numpy(np.ascontiguousarray(a)) for a in part.inputs))
