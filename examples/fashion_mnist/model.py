"""A ResNet for 28×28 grey images: 16, 32 and 64 channels, three residual blocks each, about 270,000 parameters."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3×3 convolutions and a residual branch; the branch is a 1×1 convolution where the shape changes."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.branch: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.branch = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (batch, channels, height / stride, width / stride)."""
        inner = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(inner)) + self.branch(x))
        return out


class ResNet(nn.Module):
    """Scores of ten classes, (batch, 10), for images (batch, 1, 28, 28)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64), blocks: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for index in range(blocks):
                stages.append(Block(channels, width, 2 if stage > 0 and index == 0 else 1))
                channels = width
        self.body = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The scores before softmax."""
        scores: Tensor = self.head(torch.flatten(self.pool(self.body(self.stem(x))), 1))
        return scores


def net() -> nn.Module:
    """The net without its weights; they are in weights.safetensors."""
    return ResNet()
