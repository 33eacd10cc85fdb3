"""Small nets over sequences for tests: attention with a mask, recurrent cells, and samples for them."""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.models.data import Samples


class Attends(nn.Module):
    """Token ids and a mask in, two outputs: scores of all, and of each token."""

    def __init__(self, words: int = 40, length: int = 32, width: int = 16) -> None:
        super().__init__()
        self.words, self.position = nn.Embedding(words, width), nn.Embedding(length, width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.head = nn.Linear(width, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.words(ids) + self.position(torch.arange(ids.shape[1]))
        q, k, v = (part(x)[:, None] for part in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, mask[:, None, None, :])[:, 0])
        scores = self.head(x)
        return (scores * mask[..., None]).sum(1), scores


def tokens(count: int, length: int, seed: int = 0) -> Samples:
    """`count` samples for Attends; the first token always counts."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, length + 1, (count, 1))
    return Samples((draw.integers(0, 40, (count, length)), np.arange(length)[None] < lengths))


class Cell(nn.Module):
    """One step of a recurrent net: its state goes in and comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.cell, self.head = nn.Linear(6, 8), nn.GRUCell(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.cell(torch.relu(self.norm(x)), state)
        return self.head(state), state


class Layer(nn.Module):
    """A piece of a stream through two GRU layers; the state is sample first, as all inputs are."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(6, 8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, state = self.gru(x, state.transpose(0, 1).contiguous())
        return self.head(y[:, -1]), state.transpose(0, 1)


class Stream(NamedTuple):
    """A recurrent net, the shape of what it takes at each step, and that of its state."""

    make: type[nn.Module]
    step: tuple[int, ...]
    state: tuple[int, ...]

    def samples(self, count: int, seed: int = 0) -> Samples:
        """Noise, and states as they may be."""
        draw = np.random.default_rng(seed)
        x, state = (draw.standard_normal((count, *shape)).astype(np.float32) for shape in (self.step, self.state))
        return Samples((x, np.tanh(state)))


STREAMS = {"cell": Stream(Cell, (6,), (8,)), "layer": Stream(Layer, (4, 6), (2, 8))}
