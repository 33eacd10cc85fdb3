"""One quantized program from a float model: every format lowers this one."""

from collections.abc import Container, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.compress.dynamic import measure_inputs_
from edgekit.compress.half import halve_
from edgekit.compress.observers import activation_spec, best_power, least_power, weight_spec
from edgekit.compress.quantizer import EdgekitQuantizer, LeftAlone, is_layer, layer_name
from edgekit.compress.relax import QuantizedLayer, carry_meta_, quantized_layers, relax_, set_parameter_
from edgekit.compress.rounding import round_weights_, watch
from edgekit.compress.settle import settle_
from edgekit.compress.weights import store_weights_
from edgekit.compress.wide import widen_
from edgekit.core.recipe import Precision, Quantize
from edgekit.core.target import Numerics, check_precisions
from edgekit.errors import ModelError, TargetError
from edgekit.models.data import Samples
from edgekit.models.model import Model, export_program
from edgekit.models.program import Program

PER_CHANNEL = ("int8-per-channel", "int8-per-channel-convs")
"""Weights whose convolutions have a scale a channel; by the first linear layers have too."""
STATIC: tuple[Precision, ...] = ("int8", "int16")
"""The precisions with scales of the calibration data."""
MOST = 127
"""Steps of an int8 weight, and of an int8 bias, to either side of zero."""


def quantize(
    model: Model, step: Quantize, numerics: Numerics, calibration: Samples, *, features: tuple[str, ...] | None = None
) -> Program:
    """`model` as a program whose layers have the precisions of `step`, in the numerics of a target.

    Activation ranges are those of the float model on `calibration`; what "gptq" rounds by is taken there too.
    `features` are the device's: where all that the numerics name are missing, weights that meet int8 activations get 7
    bits; None is "not known", and nothing is reduced.

    Raises: TargetError if the target lacks a precision, or has an int8 that edgekit does not make; ModelError if the
    model cannot be exported or a layer is unknown.
    """
    captured = export_program(model.module, model.example, model.spec.name, model.spec.inputs)
    module = settle_(captured.module(check_guards=False))
    layers = tuple(dict.fromkeys(layer_name(n) for n in module.graph.nodes if is_layer(n)))
    precisions = _precisions(step, layers, model.spec.name)
    if not precisions:
        return Program(captured, model.spec, layers)
    _check(precisions, numerics)
    powers = numerics.scales == "power-of-two"
    reduced = features is not None and bool(numerics.reduce_range_without)
    reduced = reduced and not set(features or ()) & set(numerics.reduce_range_without)
    batch = len(model.example[0])
    taken = watch(module, calibration, batch) if step.rounding == "gptq" else {}
    static = frozenset(layer for layer, precision in precisions.items() if precision in STATIC)
    prepared = prepare_pt2e(module, _quantizer(step, numerics, reduced) if static else LeftAlone())
    if static:
        _calibrate(prepared, calibration, batch)
    module = relax_(convert_pt2e(prepared, fold_quantize=False), static)
    if wide := frozenset(layer for layer in static if precisions[layer] == "int16"):
        widen_(module, wide, static)
    weights, gains = round_weights_(module, taken)
    weights |= clip_weights_(module, weights) if powers else {}
    biases = snap_biases_(module, gains, int8=powers)
    halve_(measure_inputs_(module, precisions), precisions)
    stored = store_weights_(module, precisions, taken, numerics, reduced=reduced)
    exported = export_program(module, model.example, model.spec.name, model.spec.inputs)
    carry_meta_(module.graph, exported.graph)
    return Program(exported, model.spec, layers, precisions, weights | biases | stored)


def _check(precisions: Mapping[str, Precision], numerics: Numerics) -> None:
    """Raises: TargetError if the target lacks one of the precisions, or has an int8 that edgekit does not make."""
    check_precisions(precisions.values(), numerics)
    powers = numerics.scales == "power-of-two"
    if powers and (numerics.activations, numerics.weights) != ("int8-symmetric", "int8-per-tensor"):
        raise TargetError(
            f"scales that are powers of two go with int8-symmetric activations and int8-per-tensor weights, "
            f"the target has {numerics.activations} and {numerics.weights}"
        )


def _quantizer(step: Quantize, numerics: Numerics, reduced: bool) -> EdgekitQuantizer:  # noqa: FBT001
    by_channel = step.granularity == "channel"
    convs, linear = by_channel and numerics.weights in PER_CHANNEL, by_channel and numerics.weights == PER_CHANNEL[0]
    return EdgekitQuantizer(
        activation_spec(numerics.activations, step.ranges, numerics.scales),
        weight_spec(per_channel=convs, reduced=reduced, scales=numerics.scales),
        linear=weight_spec(per_channel=linear, reduced=reduced, scales=numerics.scales),
        means_keep=numerics.scales == "power-of-two",
    )


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


def _precisions(step: Quantize, layers: tuple[str, ...], name: str) -> dict[str, Precision]:
    """The layers that are not fp32."""
    chosen = dict(step.layers)
    if unknown := sorted(set(chosen) - set(layers)):
        raise ModelError(f"model {name} has no layer {unknown[0]!r}; its layers: {', '.join(layers)}")
    each = {layer: chosen.get(layer, step.default) for layer in layers}
    return {layer: precision for layer, precision in each.items() if precision != "fp32"}


def _calibrate(prepared: GraphModule, calibration: Samples, batch: int) -> None:
    """Runs every sample through the observers; the last, smaller batch is left out if shapes are fixed."""
    whole = [part for part in calibration.batches(batch) if len(part) == batch]
    if not whole:
        raise ModelError(f"calibration has {len(calibration)} samples, fewer than the example's batch of {batch}")
    with torch.no_grad():
        for part in whole:
            prepared(*(torch.from_numpy(np.ascontiguousarray(a)) for a in part.inputs))
