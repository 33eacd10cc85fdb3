"""Small nets for tests: seeded, with BatchNorm statistics that are not the identity."""

import numpy as np
import torch
from torch import nn

from edgekit.core.target import Limits, Numerics, Target
from edgekit.models.data import Samples
from edgekit.models.model import Model, capture

AFFINE = Numerics(precisions=("fp32", "int8"), activations="uint8-affine", weights="int8-per-channel")
ONNX_X86 = Target(
    name="onnx-x86_64", title="ONNX on x86-64", format="onnx", runtime="onnxruntime",
    numerics=AFFINE, limits=Limits(opset=20, ir_version=10),
)  # fmt: skip

TFLITE_X86 = Target(
    name="tflite-x86_64", title="TFLite on x86-64", format="tflite", runtime="litert",
    numerics=Numerics(precisions=("fp32", "int8"), activations="int8-affine", weights="int8-per-channel"),
)  # fmt: skip


class Residual(nn.Module):
    """A ResNet of two blocks, the second with a projection."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.a = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.b = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.c = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True))
        self.d = nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32))
        self.down = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(self.b(self.a(x)) + x)
        x = torch.relu(self.d(self.c(x)) + self.down(x))
        return self.head(x.mean((2, 3)))


class Mobile(nn.Module):
    """Inverted residuals with ReLU6 and depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._unit(1, 16, 3)
        self.expand, self.depth = self._unit(16, 32, 1), self._unit(32, 32, 3, groups=32)
        self.project = nn.Sequential(nn.Conv2d(32, 16, 1, bias=False), nn.BatchNorm2d(16))
        self.head = nn.Linear(16, 10)

    def _unit(self, i: int, o: int, k: int, groups: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(i, o, k, padding=k // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU6(inplace=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.project(self.depth(self.expand(x)))
        return self.head(x.mean((2, 3)))


class Concat(nn.Module):
    """Two branches, one pooled, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.left, self.right = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(32 * 4 * 4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.stem(x)))
        x = torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)
        return self.head(self.pool(x).flatten(1))


NETS = {"residual": Residual, "mobile": Mobile, "concat": Concat}


def net(name: str, seed: int = 0, size: int = 16) -> Model:
    """The net called `name`, captured."""
    torch.manual_seed(seed)
    module = NETS[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return capture(module, (torch.randn(1, 1, size, size),), name)


def noise(count: int, seed: int = 0, size: int = 16) -> Samples:
    """`count` images of seeded noise."""
    return Samples((np.random.default_rng(seed).standard_normal((count, 1, size, size)).astype(np.float32),))
