"""A small MobileNet for 32×32 digits: inverted residuals, BatchNorm, ReLU6, about 82,000 parameters.

`net()` gives it trained. The weights are kept in .cache/ beside this file and belong to one text of model.py, data.py
and train.py: change one of the three and the next call trains again, which takes less than a minute.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE / ".cache" / "weights.safetensors"

# Channels in, hidden, out and stride of each inverted residual.
BLOCKS = ((16, 32, 16, 1), (16, 64, 32, 2), (32, 128, 32, 1), (32, 128, 48, 2), (48, 192, 48, 1), (48, 192, 64, 1))


class InvertedResidual(nn.Module):
    """1×1 convolution to `hidden` channels, 3×3 depthwise, 1×1 back; the input is added where the shape allows."""

    def __init__(self, channels_in: int, hidden: int, channels: int, stride: int) -> None:
        super().__init__()
        self.expand = convolution(channels_in, hidden, 1)
        self.depthwise = convolution(hidden, hidden, 3, stride, hidden)
        self.project = nn.Sequential(nn.Conv2d(hidden, channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.adds = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, (batch, channels, height / stride, width / stride)."""
        out: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + out if self.adds else out


class Digits(nn.Module):
    """Scores of ten digits, (batch, 10), for images (batch, 1, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(1, BLOCKS[0][0], 3)
        self.blocks = nn.Sequential(*(InvertedResidual(*block) for block in BLOCKS))
        self.last = convolution(BLOCKS[-1][2], 128, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """The scores before softmax."""
        scores: Tensor = self.head(torch.flatten(self.pool(self.last(self.blocks(self.stem(x)))), 1))
        return scores


def convolution(channels_in: int, channels: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6."""
    conv = nn.Conv2d(channels_in, channels, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU6())


def net() -> nn.Module:
    """The trained net; trained first where no weights of this very text are at hand."""
    if _kept_digest() != text_digest():
        trained = subprocess.run([sys.executable, str(HERE / "train.py")], capture_output=True, text=True, check=False)
        if trained.returncode:
            raise RuntimeError(f"train.py: {(trained.stderr.strip().splitlines() or ['ended without a word'])[-1]}")
    model = Digits()
    with safe_open(WEIGHTS, "pt") as file:
        model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return model.eval()


def text_digest() -> str:
    """The sha256 of the three files that decide what the weights are."""
    texts = (HERE.joinpath(name).read_bytes() for name in ("model.py", "data.py", "train.py"))
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def _kept_digest() -> str | None:
    """The digest that the kept weights were trained under; None where there are none."""
    if not WEIGHTS.is_file():
        return None
    with safe_open(WEIGHTS, "pt") as file:
        return dict(file.metadata() or {}).get("text")
