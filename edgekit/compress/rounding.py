"""Weights put on their int8 grids so that what a layer computes on calibration changes least.

To round every weight to its nearest step is best only for inputs that have nothing to do with each other. Those of a
layer behind a ReLU6 are all positive, and neighbours in an image are alike: errors add up that could cancel. So the
weights of a channel are rounded one after another, and those still to come make up for what is lost (E. Frantar et al.,
"GPTQ: accurate post-training quantization for generative pre-trained transformers", 2022); the mean error that is left
goes into the bias (M. Nagel et al., "Data-free quantization through weight equalization and bias correction", 2019).
Both only choose among the values of the grid, so every format computes the result exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgekit.compress.quantizer import aten, is_layer, layer_name
from edgekit.compress.relax import QuantizedLayer, quantized_layers, set_parameter_
from edgekit.models.data import Samples

SAMPLES = 64
"""Calibration samples that are looked at, evenly spread."""
PLACES = 1024
"""Places of an image that are looked at in each sample, evenly spread."""
LARGEST = 2048
"""Inputs of one output above which only means are kept: a layer's table of pairs grows with the square."""
DAMPING = 0.01
"""Share of the mean variance that is added to each: few samples do not show all that inputs can do."""


@dataclass
class Taken:
    """What the groups of a layer take: sums over places of the inputs of one output, and of their pairs."""

    count: int
    sums: Tensor
    pairs: Tensor | None

    def add_(self, other: "Taken") -> None:
        """Counts `other` in."""
        self.count += other.count
        self.sums += other.sums
        if self.pairs is not None and other.pairs is not None:
            self.pairs += other.pairs

    @property
    def mean(self) -> Tensor:
        """(groups, inputs)."""
        return self.sums / self.count

    def spread(self, *, about_mean: bool) -> Tensor | None:
        """(groups, inputs, inputs): covariance, or second moments about 0; None if pairs were not kept."""
        if self.pairs is None:
            return None
        moments = self.pairs / self.count
        return moments - self.mean[:, :, None] * self.mean[:, None, :] if about_mean else moments


class _Watch(Interpreter):
    """Runs a float module and keeps what each layer takes, by the layer's name."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.taken: dict[str, Taken] = {}

    def run_node(self, n: Node) -> Any:
        """As torch."""
        if is_layer(n):
            args, _ = self.fetch_args_kwargs_from_env(n)
            now = _taken(_patches(n, args))
            if layer_name(n) in self.taken:
                self.taken[layer_name(n)].add_(now)
            else:
                self.taken[layer_name(n)] = now
        return super().run_node(n)


def watch(module: GraphModule, calibration: Samples, batch: int) -> Mapping[str, Taken]:
    """What each layer of the float `module` takes, on whole batches of evenly spread samples."""
    seen = _Watch(module)
    step = max(1, len(calibration) // SAMPLES)
    with torch.no_grad():
        for part in calibration.take(slice(0, step * SAMPLES, step)).batches(batch):
            if len(part) == batch:
                seen.run(*(torch.from_numpy(np.ascontiguousarray(a)) for a in part.inputs))
    return seen.taken


def round_weights_(module: GraphModule, taken: Mapping[str, Taken]) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """Puts the weight of every int8 layer of `module` on its grid; (the weights as they were, what biases gain).

    Weights are named by parameter, gains by layer: the mean of what its output lost on calibration.
    """
    before: dict[str, np.ndarray] = {}
    gains: dict[str, Tensor] = {}
    for layer in quantized_layers(module.graph):
        if layer.weight in before or layer.name not in taken:
            continue
        weight, (steps, low, high) = attrgetter(layer.weight)(module).detach(), _grid(module, layer)
        values, gain = rounded(weight, steps, low, high, taken[layer.name], about_mean=layer.bias is not None)
        before[layer.weight] = weight.numpy().copy()
        gains[layer.name] = gain
        set_parameter_(module, layer.weight, values.to(weight.dtype))
    return before, gains


def rounded(
    weight: Tensor, steps: Tensor, low: int, high: int, taken: Taken, *, about_mean: bool
) -> tuple[Tensor, Tensor]:
    """`weight` on a grid, rounded by what its layer takes, and for each output the mean of what it lost by that.

    `steps` are those of (outputs, inputs), or of a part that stands for all. `about_mean`: the layer has a bias, which
    makes up for a mean.
    """
    groups, inputs = taken.sums.shape
    rows = weight.double().reshape(groups, -1, inputs)
    each = steps.double().expand(rows.shape[0] * rows.shape[1], inputs).reshape(rows.shape)
    spread = taken.spread(about_mean=about_mean)
    found = nearest(rows, each, low, high) if spread is None else _in_turn(rows, each, low, high, spread)
    lost = ((rows - found) * taken.mean[:, None, :]).sum(dim=2).reshape(-1)
    return found.reshape(weight.shape), lost


def nearest(rows: Tensor, steps: Tensor, low: int, high: int) -> Tensor:
    """`rows`, each value at the nearest of its steps from `low` to `high`."""
    return (rows / steps).round().clamp(low, high) * steps


def _grid(module: GraphModule, layer: QuantizedLayer) -> tuple[Tensor, int, int]:
    """The step of every output, or of all of them, and the least and the most step."""
    dequantize: Any = layer.node.args[1]
    scale, (low, high) = dequantize.args[1], dequantize.args[-3:-1]
    steps = attrgetter(str(scale.target))(module).double() if isinstance(scale, Node) else torch.tensor(float(scale))
    return steps.double().reshape(-1, 1), low, high


def _in_turn(rows: Tensor, steps: Tensor, low: int, high: int, spread: Tensor) -> Tensor:
    """`rows` rounded input by input; the inputs still to come make up for each error as `spread` says they can."""
    rows, inputs = rows.clone(), rows.shape[2]
    variance = spread.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-12)
    damped = spread + torch.eye(inputs, dtype=spread.dtype) * (DAMPING * variance)[:, None, None]
    ways = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    for i in range(inputs):
        value = rows[:, :, i].clone()
        rows[:, :, i] = nearest(value, steps[:, :, i], low, high)
        error = (value - rows[:, :, i]) / ways[:, i, i, None]
        rows[:, :, i + 1 :] -= error[:, :, None] * ways[:, None, i, i + 1 :]
    return rows


def _taken(patches: Tensor) -> Taken:
    pairs = torch.bmm(patches, patches.transpose(1, 2)).double() if patches.shape[1] <= LARGEST else None
    return Taken(patches.shape[2], patches.sum(dim=2).double(), pairs)


def _patches(node: Node, args: tuple[Any, ...]) -> Tensor:
    """(groups, inputs of one output, places): what a layer multiplies its weights with."""
    value, weight = args[0], args[1]
    if node.target is aten.linear.default:
        return _thinned(value.reshape(-1, value.shape[-1]).T[None])
    size, channels = int(np.prod(weight.shape[2:])), value.shape[1]
    picks = torch.eye(size).reshape(size, 1, *weight.shape[2:]).repeat(channels, *[1] * (weight.dim() - 1))
    found: Tensor = node.target(value, picks, None, *args[3:6], groups=channels)  # type: ignore[operator]
    found = found.reshape(len(value), channels // weight.shape[1], weight[0].numel(), -1)
    return _thinned(found.permute(1, 2, 0, 3).flatten(2))


def _thinned(patches: Tensor) -> Tensor:
    return patches[:, :, :: -(-patches.shape[2] // PLACES)]
