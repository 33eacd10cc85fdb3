"""The nets that benchmarks measure, at 224×224, as their papers give them: latency does not depend on the weights.

Weights are random, seeded; BatchNorm's statistics are taken from inputs, so that activations keep their scale.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

SIDE = 224


def images(count: int, seed: int) -> Tensor:
    """`count` smooth random pictures, float32, sample first."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 14, 14, generator=draw)
    smooth = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return smooth + 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=draw)


def _conv(cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
    ]


class InvertedResidual(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = cin * expand
        grow = [*_conv(cin, wide, 1), nn.ReLU6()] if expand > 1 else []
        self.body = nn.Sequential(*grow, *_conv(wide, wide, 3, stride, wide), nn.ReLU6(), *_conv(wide, cout, 1))
        self.same = stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


class MobileNetV2(nn.Module):
    """MobileNetV2, width 1.0 (arXiv 1801.04381): 53 layers."""

    plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(*_conv(3, 32, 3, 2), nn.ReLU6())]
        cin = 32
        for expand, cout, repeats, stride in self.plan:
            for i in range(repeats):
                parts.append(InvertedResidual(cin, cout, stride if i == 0 else 1, expand))
                cin = cout
        parts.append(nn.Sequential(*_conv(cin, 1280, 1), nn.ReLU6()))
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class BasicBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_conv(cin, cout, 3, stride), nn.ReLU(), *_conv(cout, cout, 3))
        self.side = nn.Sequential(*_conv(cin, cout, 1, stride)) if stride > 1 or cin != cout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.side(x))


class ResNet18(nn.Module):
    """ResNet-18 (arXiv 1512.03385): 21 layers."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(*_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))]
        cin = 64
        for cout in (64, 128, 256, 512):
            parts += [BasicBlock(cin, cout, 1 if cout == 64 else 2), BasicBlock(cout, cout, 1)]
            cin = cout
        self.features = nn.Sequential(*parts)
        self.classifier = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


NETS: dict[str, Callable[[], nn.Module]] = {"MobileNetV2": MobileNetV2, "ResNet-18": ResNet18}


def net(name: str) -> nn.Module:
    """The net called `name`, in eval mode, the same on every run."""
    torch.manual_seed(0)
    module = NETS[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        module.train()
        for start in range(2):
            module(images(8, seed=100 + start))
    return module.eval()


def blocks(layers: tuple[str, ...], count: int) -> tuple[tuple[str, ...], ...]:
    """The layers as `count` blocks in a row, cut between the net's own parts, about as many layers in each."""
    parts: dict[str, list[str]] = {}
    for layer in layers:
        parts.setdefault(".".join(layer.split(".")[:2]) if layer.startswith("features") else layer, []).append(layer)
    groups = list(parts.values())
    found: list[list[str]] = []
    for i, group in enumerate(groups):
        if (
            not found
            or (len(found) < count and sum(map(len, found)) >= len(layers) * len(found) / count)
            or (len(groups) - i <= count - len(found))
        ):
            found.append([])
        found[-1] += group
    return tuple(map(tuple, found))
