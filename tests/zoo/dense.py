"""Nets that say something of every place: a U-Net, and a detector with heads at three scales."""

import torch
from torch import nn
from torch.nn import functional as F

from zoo.classifiers import conv


def double(i: int, o: int) -> nn.Sequential:
    """Two convolutions, each with BatchNorm and ReLU."""
    return nn.Sequential(*conv(i, o, 3), nn.ReLU(True), *conv(o, o, 3), nn.ReLU(True))


class UNet(nn.Module):
    """U-Net (arXiv 1505.04597): four levels down, four up by transposed convolutions; its own width is 64."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        sizes = [width << level for level in range(5)]
        self.down = nn.ModuleList(double(i, o) for i, o in zip([3, *sizes], sizes, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * o, o, 2, 2) for o in reversed(sizes[:-1]))
        self.join = nn.ModuleList(double(2 * o, o) for o in reversed(sizes[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        passed = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            passed.append(x)
        for up, join, side in zip(self.up, self.join, reversed(passed[:-1]), strict=True):
            x = join(torch.cat((side, up(x)), 1))
        return self.head(x)


def silu(i: int, o: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution with BatchNorm and SiLU."""
    return nn.Sequential(*conv(i, o, kernel, stride), nn.SiLU(True))


class CrossStage(nn.Module):
    """Half of the channels through residual blocks, half past them."""

    def __init__(self, c: int, count: int, *, adds: bool) -> None:
        super().__init__()
        half, self.adds = c // 2, adds
        self.main, self.side, self.join = silu(c, half, 1), silu(c, half, 1), silu(c, c, 1)
        self.blocks = nn.ModuleList(nn.Sequential(silu(half, half, 1), silu(half, half, 3)) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.main(x)
        for block in self.blocks:
            y = y + block(y) if self.adds else block(y)
        return self.join(torch.cat((y, self.side(x)), 1))


class Yolo(nn.Module):
    """A detector of YOLOv5's kind (nano): cross-stage blocks, fast pyramid pooling, paths up and down, three heads."""

    def __init__(self, width: int = 16, each: int = 3 * (5 + 20)) -> None:
        super().__init__()
        a, b, c, d, e = (width << level for level in range(5))
        self.stem = nn.Sequential(silu(3, a, 3, 2), silu(a, b, 3, 2))
        self.p2 = CrossStage(b, 1, adds=True)
        self.p3 = nn.Sequential(silu(b, c, 3, 2), CrossStage(c, 2, adds=True))
        self.p4 = nn.Sequential(silu(c, d, 3, 2), CrossStage(d, 3, adds=True))
        self.p5 = nn.Sequential(silu(d, e, 3, 2), CrossStage(e, 1, adds=True))
        self.squeeze, self.pooled = silu(e, d, 1), silu(4 * d, e, 1)
        self.top, self.lateral = silu(e, d, 1), silu(d, c, 1)
        self.up4, self.up3 = CrossStage(2 * d, 1, adds=False), CrossStage(2 * c, 1, adds=False)
        self.narrow4 = silu(2 * d, d, 1)
        self.narrow3 = silu(2 * c, c, 1)
        self.down3, self.down4 = silu(c, c, 3, 2), silu(d, d, 3, 2)
        self.out4, self.out5 = CrossStage(2 * c, 1, adds=False), CrossStage(2 * d, 1, adds=False)
        self.heads = nn.ModuleList(nn.Conv2d(channels, each, 1) for channels in (c, 2 * c, 2 * d))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        p3 = self.p3(self.p2(self.stem(x)))
        p4 = self.p4(p3)
        p5 = self.squeeze(self.p5(p4))
        pools = [p5]
        for _ in range(3):
            pools.append(F.max_pool2d(pools[-1], 5, 1, 2))
        top = self.top(self.pooled(torch.cat(pools, 1)))
        up4 = self.narrow4(self.up4(torch.cat((F.interpolate(top, scale_factor=2.0, mode="nearest"), p4), 1)))
        lateral = self.lateral(up4)
        up3 = self.narrow3(self.up3(torch.cat((F.interpolate(lateral, scale_factor=2.0, mode="nearest"), p3), 1)))
        out4 = self.out4(torch.cat((self.down3(up3), lateral), 1))
        out5 = self.out5(torch.cat((self.down4(up4), top), 1))
        made = (head(value) for head, value in zip(self.heads, (up3, out4, out5), strict=True))
        first, second, third = made
        return first, second, third
