"""Transformers, a recurrent net and an audio net: attention, embeddings, states passed in and out, odd strides."""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """A transformer block, norms first, the attention written out."""

    def __init__(self, width: int, heads: int, inside: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inside), nn.Linear(inside, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(n, t, c))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class DeitTiny(nn.Module):
    """DeiT-Tiny (arXiv 2012.12877): 12 blocks, 192 wide, 3 heads, patches of 16."""

    def __init__(self, side: int = 224) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 192, 16, 16)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, 192))
        self.position = nn.Parameter(0.02 * torch.randn(1, (side // 16) ** 2 + 1, 192))
        self.blocks = nn.Sequential(*(Block(192, 3, 768) for _ in range(12)))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class EncoderLayer(nn.Module):
    """BERT's layer: norms last, a mask of the tokens that count."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = (part(x).view(n, t, self.heads, c // self.heads).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, mask)
        x = self.norm1(x + self.o(y.transpose(1, 2).reshape(n, t, c)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class Encoder(nn.Module):
    """A small BERT (arXiv 1810.04805): token ids and an attention mask in, a vector a token and one for all out."""

    def __init__(self, words: int = 1000, length: int = 32, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        self.words, self.position = nn.Embedding(words, width), nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(EncoderLayer(width, 4) for _ in range(depth))
        self.pooler = nn.Linear(width, width)
        self.register_buffer("places", torch.arange(length)[None])

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.norm(self.words(ids) + self.position(self.places))
        added = (1.0 - mask[:, None, None, :].to(x.dtype)) * -1e4
        for layer in self.layers:
            x = layer(x, added)
        return x, torch.tanh(self.pooler(x[:, 0]))


class Decoder(nn.Module):
    """One step of a small GPT: a token and its place in, the next token's scores out; keys and values in and out."""

    def __init__(self, words: int = 500, length: int = 24, width: int = 96, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.words, self.position = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads, 4 * width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)
        self.register_buffer("places", torch.arange(length))

    def forward(
        self, token: torch.Tensor, place: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        x = self.words(token) + self.position(place)
        here = (self.places[None] == place)[:, None, :, None]
        hidden = torch.where(self.places[None] <= place, 0.0, -1e4)[:, None, None, :]
        new_keys, new_values = [], []
        for i, block in enumerate(self.blocks):
            n, t, c = x.shape
            parts = block.qkv(block.norm1(x)).view(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
            q, k, v = parts.unbind(0)
            k, v = torch.where(here, k, keys[:, i]), torch.where(here, v, values[:, i])
            weights = (q @ k.transpose(-2, -1) * block.scale + hidden).softmax(-1)
            x = x + block.proj((weights @ v).transpose(1, 2).reshape(n, t, c))
            x = x + block.fc2(F.gelu(block.fc1(block.norm2(x))))
            new_keys.append(k)
            new_values.append(v)
        return self.head(self.norm(x))[:, 0], torch.stack(new_keys, 1), torch.stack(new_values, 1)


class Gru(nn.Module):
    """Two GRU layers over a piece of a stream; the state goes in and comes out, sample first."""

    def __init__(self, features: int = 40, width: int = 64) -> None:
        super().__init__()
        self.norm, self.gru = nn.Linear(features, width), nn.GRU(width, width, 2, batch_first=True)
        self.head = nn.Linear(width, 12)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, state = self.gru(F.relu(self.norm(x)), state.transpose(0, 1).contiguous())
        return self.head(y[:, -1]), state.transpose(0, 1)


class Audio(nn.Module):
    """Depthwise-separable one-dimensional convolutions over a waveform, with strides of 5, 3 and 3."""

    def __init__(self, width: int = 32, classes: int = 12) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv1d(1, width, 25, 5, 11, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        c = width
        for o, kernel, stride in ((64, 9, 3), (64, 9, 1), (96, 7, 3), (96, 7, 1), (128, 5, 3), (128, 5, 1)):
            parts += [nn.Conv1d(c, c, kernel, stride, kernel // 2, groups=c, bias=False), nn.BatchNorm1d(c), nn.ReLU()]
            parts += [nn.Conv1d(c, o, 1, bias=False), nn.BatchNorm1d(o), nn.ReLU()]
            c = o
        self.features, self.head = nn.Sequential(*parts), nn.Linear(c, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean(-1))
