"""Nets for tests of channel groups: each kind of coupling between channels, small and seeded."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.compress.cut import cut
from edgekit.compress.groups import Analysis, analyse, keep_all
from edgekit.models.model import Model, capture


def unit(i: int, o: int, k: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(o), act())


class Basic(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = unit(i, o, 3, stride), unit(o, o, act=nn.Identity)
        self.branch = unit(i, o, 1, stride, act=nn.Identity) if stride > 1 or i != o else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(x))
        y += self.branch(x)
        return self.relu(y)


class ResNet(nn.Module):
    """Residual adds in place, flatten with several positions a channel before the linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.blocks = nn.Sequential(Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 32, 1))
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.avg_pool2d(self.blocks(self.stem(x)), 4).flatten(1))


class PaddedResNet(nn.Module):
    """A shortcut that pads channels with zeros (option A of the ResNet paper)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 32, 3, 2, 1), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(F.relu(self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8))).mean((2, 3)))


class Inverted(nn.Module):
    def __init__(self, i: int, o: int, stride: int, expand: int, gated: bool) -> None:
        super().__init__()
        h, self.adds = i * expand, stride == 1 and i == o
        self.expand = unit(i, h, 1, act=nn.ReLU6)
        self.depth = unit(h, h, 3, stride, groups=h, act=nn.Hardswish)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(h, 8, 1), nn.ReLU(), nn.Conv2d(8, h, 1))
        self.gated, self.project = gated, unit(h, o, 1, act=nn.Identity)

    def forward(self, x: Tensor) -> Tensor:
        y = self.depth(self.expand(x))
        y = self.project(y * self.gate(y).sigmoid() if self.gated else y)
        return x + y if self.adds else y


class Mobile(nn.Module):
    """Depthwise convolution, squeeze-and-excite gates."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.blocks = nn.Sequential(
            Inverted(8, 8, 1, 2, True), Inverted(8, 16, 2, 4, False), Inverted(16, 16, 1, 4, True)
        )
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean([2, 3]))


class Dense(nn.Module):
    """Each layer reads the concatenation of all before it, BatchNorm first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        parts = [(nn.BatchNorm2d(16 + 8 * i), nn.ReLU(), nn.Conv2d(16 + 8 * i, 8, 3, 1, 1)) for i in range(3)]
        self.layers = nn.ModuleList(nn.Sequential(*part) for part in parts)
        self.last = nn.Sequential(nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 24, 1), nn.AvgPool2d(2))
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        found = [self.stem(x)]
        for layer in self.layers:
            found.append(layer(torch.cat(found, 1)))
        return self.head(F.adaptive_avg_pool2d(self.last(torch.cat(found, 1)), 1).flatten(1))


class Squeeze(nn.Module):
    """SqueezeNet's fire modules: two branches concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 16, 3, 2), nn.MaxPool2d(2, ceil_mode=True)
        self.squeeze, self.one, self.three = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1), nn.Conv2d(8, 12, 3, padding=1)
        self.last = nn.Conv2d(28, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(self.pool(F.relu(self.stem(x)))))
        return self.last(torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)).mean((2, 3))


class Shuffled(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(unit(half, half, 1), unit(half, half, groups=half), unit(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        x = torch.cat([left, self.body(right)], 1)
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Shuffle(nn.Module):
    """ShuffleNetV2: split, concatenate, shuffle, with the sizes written out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3, 2, 1), nn.Linear(16, 10)
        self.units = nn.Sequential(Shuffled(16), Shuffled(16))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.units(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, packed: bool) -> None:
        super().__init__()
        self.heads, self.packed, self.out = heads, packed, nn.Linear(dim, dim)
        if packed:
            self.qkv = nn.Linear(dim, 3 * dim)
        else:
            self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        if self.packed:
            q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            q, k, v = (m(x).view(b, t, self.heads, c // self.heads).transpose(1, 2) for m in (self.q, self.k, self.v))
            y = (q @ k.transpose(-1, -2) * (c // self.heads) ** -0.5).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Encoder(nn.Module):
    def __init__(self, dim: int, heads: int, packed: bool) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = nn.LayerNorm(dim), nn.LayerNorm(dim), Attention(dim, heads, packed)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ViT(nn.Module):
    """A vision transformer, one block with packed q, k and v, one with three layers for them."""

    def __init__(self, dim: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, dim, 4, 4), nn.Linear(dim, 10)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, dim)), nn.Parameter(torch.randn(1, 17, dim))
        self.blocks, self.norm = nn.Sequential(Encoder(dim, heads, True), Encoder(dim, heads, False)), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.head(self.norm(self.blocks(x))[:, 0])


class Odds(nn.Module):
    """Grouped and transposed convolution, pixel shuffle, PReLU, GLU, a gate of one channel, a scale a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grouped, self.multiplied = (
            nn.Conv2d(3, 16, 3, 1, 1),
            nn.Conv2d(16, 24, 1, groups=4),
            unit(16, 32),
        )
        self.depth, self.shuffle, self.prelu = nn.Conv2d(16, 32, 3, 1, 1, groups=16), nn.PixelShuffle(2), nn.PReLU(16)
        self.gate, self.wide, self.glu = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 20, 1), nn.GLU(1)
        self.up, self.spread = nn.ConvTranspose2d(16, 12, 2, 2), nn.Conv2d(16, 24, 1)
        self.scale = nn.Parameter(torch.rand(12) + 0.5)
        self.heads = nn.ModuleList(nn.Conv2d(i, 10, 1) for i in (24, 32, 10, 12, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.stem(x))
        x = x * self.gate(x).sigmoid()
        up = F.interpolate(self.up(x), scale_factor=2.0) * self.scale.view(1, -1, 1, 1)
        made = (self.grouped(x), self.depth(x), self.glu(self.wide(x)), up, self.shuffle(self.spread(x)))
        return sum(head(m).mean((2, 3)) for head, m in zip(self.heads, made, strict=True))


CUTTABLE: dict[str, type[nn.Module]] = {
    "resnet": ResNet, "padded": PaddedResNet, "mobile": Mobile, "dense": Dense, "squeeze": Squeeze,
    "shuffle": Shuffle, "vit": ViT, "odds": Odds,
}  # fmt: skip


def module(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    made = CUTTABLE[name]()
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    return made


_KNOWN: dict[str, Model] = {}


def cuttable(name: str) -> Model:
    """The net, captured once for all tests: none of them may change it."""
    if name not in _KNOWN:
        _KNOWN[name] = capture(module(name), (torch.randn(1, 3, 16, 16),), name)
    return _KNOWN[name]


def some_units_gone(analysis: Analysis, seed: int, shares: list[float]) -> Tensor:
    """A mask of channels in which group i loses the share i (modulo) of its units, at least one staying."""
    keep, generator = keep_all(analysis.trace), torch.Generator().manual_seed(seed)
    for index, group in enumerate(analysis.groups):
        units = analysis.units[group.name]
        gone = min(len(units) - 1, round(len(units) * shares[index % len(shares)]))
        keep[units[torch.randperm(len(units), generator=generator)[:gone]]] = False
    return keep


def unread(analysis: Analysis, keep: Tensor) -> nn.Module:
    """The whole model, in which no layer reads the channels that `keep` leaves out."""
    whole = copy.deepcopy(analysis.trace.module)
    for slot in analysis.trace.slots.values():
        if slot.role == "reads":
            mask = keep[analysis.trace.channels.roots(slot.channels)]
            with torch.no_grad():
                whole.get_parameter(slot.path).movedim(slot.dim, 0)[~mask] = 0
    return whole


__all__ = ["CUTTABLE", "analyse", "cut", "cuttable", "module", "some_units_gone", "unread"]
