"""Image classifiers, layer for layer as their papers give them."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F


def conv(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (but for its stride), and its BatchNorm."""
    return [nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]


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
    """20 convolutions, 8 adds (arXiv 1512.03385); its own width is 64."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        c = [width, width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)
        )
        pairs = [(c[k] if j == 0 else c[k + 1], c[k + 1], 2 if k and j == 0 else 1) for k in range(4) for j in range(2)]
        self.blocks = nn.Sequential(*(Basic(*pair) for pair in pairs))
        self.pool, self.drop, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(c[4], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(torch.flatten(self.pool(self.blocks(self.stem(x))), 1)))


class Inverted(nn.Module):
    """MobileNetV2's inverted residual."""

    def __init__(self, i: int, o: int, stride: int, expand: int, kernel: int = 3) -> None:
        super().__init__()
        h, self.adds = i * expand, stride == 1 and i == o
        first = [*conv(i, h, 1), nn.ReLU6(True)] if expand > 1 else []
        self.body = nn.Sequential(*first, *conv(h, h, kernel, stride, h), nn.ReLU6(True), *conv(h, o, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


Plan = Sequence[tuple[int, int, int, int]]
"""(expansion, channels, blocks, stride of the first) for each stage."""
SMALL: Plan = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 2, 2), (6, 96, 1, 1))
WHOLE: Plan = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


class MobileNetV2(nn.Module):
    """MobileNetV2 (arXiv 1801.04381): 52 convolutions by the plan WHOLE, 27 by SMALL, which has no last one."""

    def __init__(self, plan: Plan = SMALL, first: int = 16, last: int = 0, classes: int = 10) -> None:
        super().__init__()
        c, parts = first, [*conv(3, first, 3, 2), nn.ReLU6(True)]
        for expand, o, count, stride in plan:
            for j in range(count):
                parts.append(Inverted(c, o, stride if j == 0 else 1, expand))
                c = o
        if last:
            parts += [*conv(c, last, 1), nn.ReLU6(True)]
        self.features, self.fc = nn.Sequential(*parts), nn.Linear(last or c, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).mean([2, 3]))


class PaddedInverted(nn.Module):
    """An inverted residual padded as TensorFlow pads: a stride of 2 has one row more below than above."""

    def __init__(self, i: int, o: int, stride: int, expand: int, kernel: int) -> None:
        super().__init__()
        h, self.adds = i * expand, stride == 1 and i == o
        self.expand = nn.Sequential(*conv(i, h, 1), nn.ReLU6(True)) if expand > 1 else nn.Identity()
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        self.pad = nn.ZeroPad2d((before, after, before, after))
        self.depth = nn.Sequential(
            nn.Conv2d(h, h, kernel, stride, groups=h, bias=False), nn.BatchNorm2d(h), nn.ReLU6(True)
        )
        self.project = nn.Sequential(*conv(h, o, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project(self.depth(self.pad(self.expand(x))))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0: EfficientNet-B0 (arXiv 1905.11946) without squeeze and excitation, ReLU6 for Swish."""

    plan = (
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((0, 1, 0, 1))
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32), nn.ReLU6(True))
        c, blocks = 32, []
        for expand, o, count, stride, kernel in self.plan:
            for j in range(count):
                blocks.append(PaddedInverted(c, o, stride if j == 0 else 1, expand, kernel))
                c = o
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*conv(c, 1280, 1), nn.ReLU6(True))
        self.pool, self.drop, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(1280, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.blocks(self.stem(self.pad(x))))
        return self.fc(self.drop(self.pool(x).flatten(1)))


class SqueezeExcite(nn.Module):
    """MobileNetV3's gate: a Hardsigmoid of two layers over the means of the channels."""

    def __init__(self, c: int) -> None:
        super().__init__()
        inside = max(8, (c // 4 + 4) // 8 * 8)
        self.pool, self.down, self.up = nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, inside, 1), nn.Conv2d(inside, c, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.hardsigmoid(self.up(F.relu(self.down(self.pool(x))))) * x


class Bneck(nn.Module):
    """MobileNetV3's block."""

    def __init__(self, i: int, h: int, o: int, kernel: int, stride: int, *, gate: bool, hard: bool) -> None:
        super().__init__()
        act, self.adds = nn.Hardswish if hard else nn.ReLU, stride == 1 and i == o
        first = [*conv(i, h, 1), act()] if h != i else []
        middle = [*conv(h, h, kernel, stride, h), act()] + ([SqueezeExcite(h)] if gate else [])
        self.body = nn.Sequential(*first, *middle, *conv(h, o, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class MobileNetV3Small(nn.Module):
    """MobileNetV3-Small (arXiv 1905.02244): squeeze and excitation, Hardswish."""

    plan = (
        (16, 16, 3, 2, True, False), (72, 24, 3, 2, False, False), (88, 24, 3, 1, False, False),
        (96, 40, 5, 2, True, True), (240, 40, 5, 1, True, True), (240, 40, 5, 1, True, True),
        (120, 48, 5, 1, True, True), (144, 48, 5, 1, True, True), (288, 96, 5, 2, True, True),
        (576, 96, 5, 1, True, True), (576, 96, 5, 1, True, True),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        c, parts = 16, [*conv(3, 16, 3, 2), nn.Hardswish()]
        for h, o, kernel, stride, gate, hard in self.plan:
            parts.append(Bneck(c, h, o, kernel, stride, gate=gate, hard=hard))
            c = o
        self.features = nn.Sequential(*parts, *conv(c, 576, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Sequential(nn.Linear(576, 1024), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1024, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, or with a stride two branches, then a channel shuffle."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        half = o // 2
        taken = i if stride == 2 else half
        self.side = nn.Sequential(*conv(i, i, 3, 2, i), *conv(i, half, 1), nn.ReLU(True)) if stride == 2 else None
        self.main = nn.Sequential(
            *conv(taken, half, 1),
            nn.ReLU(True),
            *conv(half, half, 3, stride, half),
            *conv(half, half, 1),
            nn.ReLU(True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.side is None:
            passed, taken = x.chunk(2, dim=1)
            x = torch.cat((passed, self.main(taken)), dim=1)
        else:
            x = torch.cat((self.side(x), self.main(x)), dim=1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 ×1.0 (arXiv 1807.11164): 56 convolutions, 16 channel shuffles."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv(3, 24, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, 1))
        c, units = 24, []
        for o, count in ((116, 4), (232, 8), (464, 4)):
            for j in range(count):
                units.append(ShuffleUnit(c, o, 2 if j == 0 else 1))
                c = o
        self.units = nn.Sequential(*units)
        self.last, self.fc = nn.Sequential(*conv(c, 1024, 1), nn.ReLU(True)), nn.Linear(1024, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.last(self.units(self.stem(x))).mean([2, 3]))
