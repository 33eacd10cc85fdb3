"""States passed in and out: the deployed file, fed its own state for several steps, goes where torch goes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sequences import STREAMS

from edgekit.catalog import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.core.recipe import Quantize
from edgekit.formats.base import get_format
from edgekit.models.model import capture
from edgekit.models.program import export

STEPS = 6
SLOW = pytest.mark.slow
TARGETS = (
    "onnx-x86_64", "tensorrt-jetson-orin", pytest.param("tflite-x86_64", marks=SLOW),
    pytest.param("coreml-apple-silicon", marks=SLOW),
)  # fmt: skip


@pytest.mark.parametrize("recipe", ["float", "int8"])
@pytest.mark.parametrize("target_name", TARGETS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_recurrent_net_keeps_its_state_over_steps(name: str, target_name: str, recipe: str, tmp_path: Path) -> None:
    stream, target = STREAMS[name], get_target(target_name)
    torch.manual_seed(0)
    samples = stream.samples(32)
    model = capture(stream.make(), tuple(torch.from_numpy(array[:1]) for array in samples.inputs), name)
    program = export(model) if recipe == "float" else quantize(model, Quantize(), target.numerics, samples)
    back_end = get_format(target.format)
    path = back_end.lower(program, target, tmp_path)
    steps, start = stream.samples(STEPS, seed=1).inputs
    state = wanted_state = real_state = start[:1]
    for x in steps:
        made, state = back_end.run(path, (x[None], state))
        wanted, wanted_state = reference_outputs(program, (x[None], wanted_state))
        with torch.no_grad():
            real, given = model.module(torch.from_numpy(x[None]), torch.from_numpy(np.ascontiguousarray(real_state)))
        real_state = given.numpy()
        for got, expected in ((made, wanted), (state, wanted_state)):
            assert np.abs(got - expected).max() < 1e-3 * max(1.0, np.abs(expected).max())
    off = np.abs(state - real_state).max(), np.abs(made - real.numpy()).max()
    assert max(off) < (1e-5 if recipe == "float" else 0.05), "after all the steps"
