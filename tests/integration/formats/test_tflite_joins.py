"""Values of unlike grids that meet in one op stay what they are in a TFLite file: none is given another's scale."""

from pathlib import Path

import numpy as np
import torch
from nets import TFLITE_X86
from torch import nn

from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.compress.relax import mixed
from edgekit.core.recipe import Quantize
from edgekit.formats.child import run_model
from edgekit.formats.tflite import FORMAT
from edgekit.models.data import Samples
from edgekit.models.model import capture


class Joined(nn.Module):
    """A small int8 layer and a large float one meet in a concatenation, a where and a maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        small, large = self.small(x), 20 * self.large(x)
        joined = torch.cat((small, large), 1), torch.stack((small, large), 1)
        return *joined, torch.where(x[:, :1] > 0, small, large), torch.maximum(small, large)


def test_what_a_float_layer_makes_is_not_put_on_the_grid_of_an_int8_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Joined(), (torch.randn(1, 3, 8, 8),), "joined")
    inputs = (np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32),)
    part = mixed(quantize(model, Quantize(), TFLITE_X86.numerics, Samples(inputs)), frozenset(("small",)))
    got = run_model("tflite", FORMAT.lower(part, TFLITE_X86, tmp_path), inputs)
    for g, w in zip(got, reference_outputs(part, inputs), strict=True):
        assert np.abs(g - w).max() < 1e-4 * np.abs(w).max()
