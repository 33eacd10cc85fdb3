"""Weights rounded together: on the grid, nearer in what a layer computes than each rounded alone, means in the bias."""

from operator import attrgetter

import numpy as np
import pytest
import torch
from nets import AFFINE, NETS, net, noise
from torch import nn
from torch.nn import functional as F

from edgekit.compress import rounding
from edgekit.compress.quantize import quantize
from edgekit.compress.relax import parameter_of, quantized_layers
from edgekit.compress.rounding import watch
from edgekit.core.recipe import Quantize, Rounding
from edgekit.models.data import Samples
from edgekit.models.model import capture, export_program
from edgekit.models.program import run


class Watched(nn.Module):
    """A convolution of each kind, and a linear layer over the last of two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
        self.same = nn.Conv2d(6, 6, 4, padding="same")
        self.line = nn.Conv1d(6, 3, 3, padding=2)
        self.head = nn.Linear(7, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.same(torch.relu(self.grouped(x)))
        return self.head(self.line(x.flatten(2)[:, :, :5]))


def watched() -> tuple[Watched, torch.fx.GraphModule]:
    torch.manual_seed(0)
    module, example = Watched().eval(), (torch.randn(1, 4, 9, 8),)
    return module, export_program(module, example, "watched").module(check_guards=False)


def test_what_a_layer_takes_has_the_mean_and_the_variance_of_what_it_gives() -> None:
    module, graph = watched()
    inputs = np.random.default_rng(0).standard_normal((20, 4, 9, 8)).astype(np.float32)
    made: dict[str, list[torch.Tensor]] = {name: [] for name, _ in module.named_children()}
    for name, layer in module.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: made[name].append(out.detach()))
    with torch.no_grad():
        for sample in torch.from_numpy(inputs):
            module(sample[None])
    taken = watch(graph, Samples((inputs,)), 1)
    assert list(taken) == ["grouped", "same", "line", "head"]
    for name, layer in module.named_children():
        out = torch.cat(made[name]).double()
        out = out.reshape(-1, 5).T if name == "head" else out.transpose(0, 1).flatten(1)
        seen, weight = taken[name], layer.weight.detach().double()  # type: ignore[union-attr]
        rows = weight.reshape(seen.sums.shape[0], -1, seen.sums.shape[1])
        bias = 0 if layer.bias is None else layer.bias.detach()
        mean = torch.einsum("goi,gi->go", rows, seen.mean).reshape(-1) + bias
        spread = seen.spread(about_mean=True)
        assert spread is not None
        variance = torch.einsum("goi,gij,goj->go", rows, spread, rows).reshape(-1)
        assert torch.allclose(mean, out.mean(dim=1), atol=1e-5)
        assert torch.allclose(variance, out.var(dim=1, correction=0), rtol=1e-4)


class Smooth(nn.Module):
    """A depthwise convolution behind a ReLU: what it takes is positive and alike from place to place."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.wide = nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.wide(torch.relu(self.depth(x)))


def smooth(count: int, seed: int) -> Samples:
    coarse = torch.rand(count, 16, 4, 4, generator=torch.Generator().manual_seed(seed)) + 0.5
    return Samples((F.interpolate(coarse, size=(16, 16), mode="bilinear").numpy(),))


@pytest.mark.parametrize("largest", [rounding.LARGEST, 0], ids=["together", "means only"])
def test_rounded_together_a_net_loses_less_on_samples_it_never_saw(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = capture(Smooth(), (torch.randn(1, 16, 16, 16),), "smooth")
    unseen = smooth(8, seed=1).inputs[0]
    with torch.no_grad():
        wanted = model.module(torch.from_numpy(unseen)).numpy()

    def error(rounding: Rounding) -> float:
        program = quantize(model, Quantize(rounding=rounding), AFFINE, smooth(32, seed=0))
        got = np.concatenate([run(program, (sample[None],))[0] for sample in unseen])
        return float(np.mean((got - wanted) ** 2))

    monkeypatch.setattr(rounding, "LARGEST", largest)
    assert error("gptq") < 0.6 * error("nearest")


@pytest.mark.parametrize("name", NETS)
def test_every_weight_is_a_step_of_its_grid_near_the_float_weight(name: str) -> None:
    program = quantize(net(name), Quantize(rounding="gptq"), AFFINE, noise(16))
    names, module = parameter_of(program.exported), program.exported.module(check_guards=False)
    for layer in quantized_layers(program.exported.graph, names):
        weight = attrgetter(layer.weight)(module).detach().double()
        scale = attrgetter(str(names(layer.node.args[1].args[1])))(module).double()  # type: ignore[union-attr, arg-type]
        steps = weight / scale.reshape(-1, *[1] * (weight.dim() - 1))
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert steps.abs().max() <= 127.001
        moved = np.abs(program.floats[layer.weight] - weight.numpy()).reshape(len(weight), -1)
        assert np.median(moved.max(axis=1) / scale.numpy()) < 4
