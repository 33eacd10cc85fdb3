"""What is float in a program stays float in a TFLite file, whatever of int8 is beside or behind it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import TFLITE_X86, noise
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


class Last(nn.Module):
    """A layer takes the last step of a state that is an output, and stays float."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.head = nn.GRU(8, 16, 2, batch_first=True), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, state = self.gru(x)
        return self.head(y[:, -1]), state.transpose(0, 1)


class Swish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.hardswish(self.first(x)))


@pytest.mark.slow
def test_a_hardswish_is_as_exact_as_the_program_has_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Swish(), (torch.randn(1, 1, 16, 16),), "swish")
    inputs = noise(32).inputs
    program = quantize(model, Quantize(), TFLITE_X86.numerics, Samples(inputs))
    got = run_model("tflite", FORMAT.lower(program, TFLITE_X86, tmp_path), inputs)[0]
    assert np.array_equal(got, reference_outputs(program, inputs)[0])


@pytest.mark.slow
def test_a_state_of_which_an_int8_layer_takes_the_last_step_stays_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Last(), (torch.randn(1, 5, 8),), "last")
    inputs = (np.random.default_rng(0).standard_normal((8, 5, 8)).astype(np.float32),)
    program = quantize(model, Quantize(), TFLITE_X86.numerics, Samples(inputs))
    head, state = run_model("tflite", FORMAT.lower(program, TFLITE_X86, tmp_path), inputs)
    wanted = reference_outputs(program, inputs)
    assert np.array_equal(head, wanted[0])
    assert np.abs(state - wanted[1]).max() < 1e-6


def test_what_a_float_layer_makes_is_not_put_on_the_grid_of_an_int8_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = capture(Joined(), (torch.randn(1, 3, 8, 8),), "joined")
    inputs = (np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype(np.float32),)
    part = mixed(quantize(model, Quantize(), TFLITE_X86.numerics, Samples(inputs)), frozenset(("small",)))
    got = run_model("tflite", FORMAT.lower(part, TFLITE_X86, tmp_path), inputs)
    for g, w in zip(got, reference_outputs(part, inputs), strict=True):
        assert np.abs(g - w).max() < 1e-4 * np.abs(w).max()
