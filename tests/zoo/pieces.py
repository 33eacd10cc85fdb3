"""What real models are made of, at small widths: a shuffle, paddings, a gate, attention."""

import torch
from torch import nn
from torch.nn import functional as F


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
