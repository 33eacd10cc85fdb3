"""Channels as numbers, and which of them must be cut together: a union-find over whole tensors of channel numbers.

Number 0 is "no channel": a value there does not depend on any single channel.
"""

import numpy as np
import torch
from torch import Tensor

NO_CHANNEL = 0


class Channels:
    """Channels, made by `fresh`, tied by `tie`, and kept for good, with a reason, by `keep`."""

    def __init__(self) -> None:
        self._parent = [NO_CHANNEL]
        self._kept: dict[int, str] = {}
        self._table: Tensor | None = None

    @property
    def count(self) -> int:
        """How many numbers there are, 0 included."""
        return len(self._parent)

    def fresh(self, count: int) -> Tensor:
        """(count,) new channels."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        self._table = None
        return torch.arange(start, start + count)

    def tie(self, first: Tensor, second: Tensor, reason: str) -> None:
        """Channels at equal positions are cut together; where only one side has a channel, it is kept."""
        for a, b in np.unique(np.stack([self.roots(first).flatten(), self.roots(second).flatten()]), axis=1).T.tolist():
            if NO_CHANNEL in (a, b):
                self._keep(max(a, b), reason)
            else:
                self._unite(a, b)

    def tie_all(self, channels: Tensor) -> None:
        """All of `channels` are cut together."""
        roots = torch.unique(self.roots(channels)).tolist()
        for other in roots[1:]:
            self._unite(roots[0], other)

    def keep(self, channels: Tensor, reason: str) -> None:
        """None of `channels` is ever cut."""
        for root in torch.unique(self.roots(channels)).tolist():
            self._keep(root, reason)

    def roots(self, channels: Tensor) -> Tensor:
        """For each channel the one that stands for all that are cut with it."""
        if self._table is None:
            table = np.asarray(self._parent)
            while not np.array_equal(table, table[table]):
                table = table[table]
            self._parent, self._table = table.tolist(), torch.from_numpy(table)
        return self._table[channels]

    def kept(self, root: int) -> str | None:
        """Why the channels of `root` are never cut; None if they may be."""
        return self._kept.get(root)

    def varies(self, channels: Tensor, dim: int) -> bool:
        """Whether different channels lie along `dim`."""
        if channels.shape[dim] < 2 or channels.stride(dim) == 0:
            return False
        roots = self.roots(squeezed(channels, keep=(dim % channels.dim(),)))
        return bool((roots != roots.narrow(dim, 0, 1)).any())

    def _unite(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        if a != b:
            low, high = min(a, b), max(a, b)
            self._parent[high] = low
            if high in self._kept:
                self._kept.setdefault(low, self._kept.pop(high))
            self._table = None

    def _keep(self, channel: int, reason: str) -> None:
        if channel != NO_CHANNEL:
            self._kept.setdefault(self._root(channel), reason)

    def _root(self, channel: int) -> int:
        while self._parent[channel] != channel:
            channel = self._parent[channel]
        return channel


def squeezed(channels: Tensor, keep: tuple[int, ...] = ()) -> Tensor:
    """`channels` with its repeated dimensions (stride 0) narrowed to 1, but those in `keep`."""
    for dim in range(channels.dim()):
        if dim not in keep and channels.shape[dim] > 1 and channels.stride(dim) == 0:
            channels = channels.narrow(dim, 0, 1)
    return channels


def none_of(shape: tuple[int, ...]) -> Tensor:
    """A value of `shape` without channels."""
    return torch.zeros((), dtype=torch.int64).expand(shape)
