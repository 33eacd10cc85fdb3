"""Larger nets for tests of quantization and lowering: what real models are made of, at small widths, seeded."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.models.data import Samples
from edgekit.models.model import Model, capture

SIZE = 64


class Basic(nn.Module):
    """ResNet's basic block, with the in-place add and ReLU of the original."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.relu = nn.ReLU(inplace=True)
        straight = stride == 1 and i == o
        self.down = None if straight else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x if self.down is None else self.down(x)
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += identity
        return self.relu(y)


class ResNet18(nn.Module):
    """20 convolutions, 8 adds, as ResNet-18."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        c = [width, width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)
        )
        pairs = [(c[k] if j == 0 else c[k + 1], c[k + 1], 2 if k and j == 0 else 1) for k in range(4) for j in range(2)]
        self.blocks = nn.Sequential(*(Basic(*pair) for pair in pairs))
        self.pool, self.drop, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(c[4], 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(torch.flatten(self.pool(self.blocks(self.stem(x))), 1)))


class Inverted(nn.Module):
    """MobileNetV2's inverted residual."""

    def __init__(self, i: int, o: int, stride: int, expand: int) -> None:
        super().__init__()
        h, self.adds = i * expand, stride == 1 and i == o
        first = [nn.Conv2d(i, h, 1, bias=False), nn.BatchNorm2d(h), nn.ReLU6(True)] if expand > 1 else []
        depth = [nn.Conv2d(h, h, 3, stride, 1, groups=h, bias=False), nn.BatchNorm2d(h), nn.ReLU6(True)]
        self.body = nn.Sequential(*first, *depth, nn.Conv2d(h, o, 1, bias=False), nn.BatchNorm2d(o))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class MobileNetV2(nn.Module):
    """27 convolutions with ReLU6, 5 adds."""

    def __init__(self) -> None:
        super().__init__()
        c, parts = 16, [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(True)]
        for expand, o, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 2, 2), (6, 96, 1, 1)):
            for j in range(count):
                parts.append(Inverted(c, o, stride if j == 0 else 1, expand))
                c = o
        self.features, self.fc = nn.Sequential(*parts), nn.Linear(c, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean([2, 3]))


class Shuffle(nn.Module):
    """A split, a branch, a concatenation and a channel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 10)
        self.branch = nn.Sequential(
            nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = F.relu(self.stem(x)).chunk(2, 1)
        x = torch.cat([a, self.branch(b)], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.fc(x.mean([2, 3]))


class Padded(nn.Module):
    """Paddings that differ by side, in front of the convolutions, one convolution called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3, 2), nn.Conv2d(16, 16, 3, 2)
        self.c, self.fc = nn.Conv2d(16, 16, 3, padding="same"), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.a(F.pad(x, (0, 1, 0, 1))))
        x = F.relu6(self.b(F.pad(x, (0, 1, 0, 1))))
        x = F.relu(self.c(F.relu(self.c(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Squeeze(nn.Module):
    """Squeeze and excitation by a sigmoid, and a Hardswish that no int8 kernel has."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.r, self.e = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.b, self.fc = nn.Conv2d(16, 16, 3, 1, 1), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.a(x))
        x = x * torch.sigmoid(self.e(F.relu(self.r(F.adaptive_avg_pool2d(x, 1)))))
        return self.fc(F.avg_pool2d(F.hardswish(self.b(x)), 2).mean([2, 3]))


class Attention(nn.Module):
    """Patches, one transformer block, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 32, 8, 8), nn.LayerNorm(32)
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        n, t, c = x.shape
        q, k, v = (part(self.norm(x)).view(n, t, 2, c // 2).transpose(1, 2) for part in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-2, -1) * 0.25).softmax(-1)
        x = x + self.o((weights @ v).transpose(1, 2).reshape(n, t, c))
        return self.head((x + self.down(F.gelu(self.up(x)))).mean(1))


ZOO = {kind.__name__: kind for kind in (ResNet18, MobileNetV2, Shuffle, Padded, Squeeze, Attention)}


def seen(name: str, seed: int = 0) -> Model:
    """The net called `name`, seeded, its BatchNorm statistics those of noise."""
    torch.manual_seed(seed)
    module = ZOO[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.8, 1.6)
    with torch.no_grad():
        for _ in range(10):
            module.train()(torch.randn(8, 3, SIZE, SIZE))
    return capture(module.eval(), (torch.randn(1, 3, SIZE, SIZE),), name)


def images(count: int, seed: int = 0) -> Samples:
    """`count` images of seeded noise."""
    return Samples((np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE)).astype(np.float32),))
