"""The zoo: pieces of real nets at small widths (ZOO), and the hard cases, whole (HARD). Seeded, random weights."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from edgekit.models.data import Samples
from edgekit.models.model import Model, capture
from zoo.classifiers import WHOLE, EfficientNetLite0, MobileNetV2, MobileNetV3Small, ResNet18, ShuffleNetV2
from zoo.dense import UNet, Yolo
from zoo.pieces import Attention, Padded, Shuffle, Squeeze
from zoo.sequences import Audio, Decoder, DeitTiny, Encoder, Gru

SIZE = 64
ZOO = {kind.__name__: kind for kind in (ResNet18, MobileNetV2, Shuffle, Padded, Squeeze, Attention)}


class Case(NamedTuple):
    """A net, and `draw(generator, count)`: inputs for it, sample first."""

    make: Callable[[], nn.Module]
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]


def _noise(*shape: int) -> Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]:
    return lambda draw, count: (draw.standard_normal((count, *shape)).astype(np.float32),)


def _pictures(side: int) -> Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]:
    """Noise that is smooth over eight pixels, as pictures are."""

    def drawn(draw: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
        coarse = draw.standard_normal((count, 3, side // 8, side // 8)).repeat(8, 2).repeat(8, 3)
        return ((coarse + 0.3 * draw.standard_normal(coarse.shape)).astype(np.float32),)

    return drawn


def _text(draw: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    lengths = draw.integers(4, 33, (count, 1))
    return draw.integers(0, 1000, (count, 32)), (np.arange(32)[None] < lengths).astype(np.int64)


def _step(draw: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    cache = draw.standard_normal((2, count, 3, 4, 24, 24)).astype(np.float32)
    return draw.integers(0, 500, (count, 1)), draw.integers(0, 24, (count, 1)), cache[0], cache[1]


def _stream(draw: np.random.Generator, count: int) -> tuple[np.ndarray, ...]:
    return (*_noise(8, 40)(draw, count), np.tanh(draw.standard_normal((count, 2, 64))).astype(np.float32))


HARD = {
    "resnet18": Case(lambda: ResNet18(64, 1000), _pictures(96)),
    "mobilenet_v2": Case(lambda: MobileNetV2(WHOLE, 32, 1280, 1000), _pictures(96)),
    "mobilenet_v3_small": Case(MobileNetV3Small, _pictures(96)),
    "shufflenet_v2": Case(ShuffleNetV2, _pictures(96)),
    "efficientnet_lite0": Case(EfficientNetLite0, _pictures(96)),
    "unet": Case(UNet, _pictures(64)),
    "yolo": Case(Yolo, _pictures(96)),
    "deit_tiny": Case(DeitTiny, _pictures(224)),
    "encoder": Case(Encoder, _text),
    "decoder": Case(Decoder, _step),
    "gru": Case(Gru, _stream),
    "audio": Case(Audio, _noise(1, 2000)),
}
"""The hard cases: each its own architecture and depth, at widths and sizes that two cores bear."""


def hard(name: str) -> Model:
    """The hard case called `name`, captured at a batch of 1."""
    torch.manual_seed(0)
    module, samples = HARD[name].make(), hard_samples(name, 24, seed=9).inputs
    given = tuple(torch.from_numpy(array) for array in samples)
    settle_norms_(module, given)
    return capture(module.eval(), tuple(array[:1] for array in given), name)


def hard_samples(name: str, count: int, seed: int = 0) -> Samples:
    """`count` samples for the hard case called `name`."""
    return Samples(HARD[name].draw(np.random.default_rng(seed), count))


def settle_norms_(module: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    """Seeds BatchNorm's weights and takes its statistics from `given`, so that values keep their size to the end."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    for part in norms:
        part.weight.data.uniform_(0.8, 1.6)
        part.momentum = None
    if norms:
        with torch.no_grad():
            module.train()(*given)


def seen(name: str, seed: int = 0) -> Model:
    """The net called `name` of ZOO, seeded, its BatchNorm statistics those of noise."""
    torch.manual_seed(seed)
    module = ZOO[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.data.uniform_(0.8, 1.6)
    with torch.no_grad():
        for _ in range(10):
            module.train()(torch.randn(8, 3, SIZE, SIZE))
    return capture(module.eval(), (torch.randn(1, 3, SIZE, SIZE),), name)


def images(count: int, seed: int = 0) -> Samples:
    """`count` images of seeded noise, for the nets of ZOO."""
    return Samples((np.random.default_rng(seed).standard_normal((count, 3, SIZE, SIZE)).astype(np.float32),))
