"""A scale for the whole weight in place of one for each output channel, where a recipe says so: in every format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import net, noise

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.core.recipe import Quantize
from edgekit.formats.base import get_format
from edgekit.models.program import Program

INPUTS = noise(64, seed=1).inputs


def made(target: str, **step: object) -> Program:
    return quantize(net("mobile"), Quantize(**step), get_target(target).numerics, noise(32))  # type: ignore[arg-type]


def scales(program: Program) -> list[int]:
    """How many each quantized weight has."""
    found = []
    for node in program.exported.graph.nodes:
        if node.op == "call_function" and "dequantize_per" in str(node.target):
            scale = node.args[1]
            stored = getattr(scale, "name", None)
            names = program.exported.graph_signature.inputs_to_buffers
            found.append(program.exported.state_dict[names[stored]].numel() if stored in names else 1)
    return found


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
@pytest.mark.parametrize("target", ["onnx-x86_64", "tflite-x86_64", "coreml-apple-silicon", "tensorrt-jetson-orin"])
def test_a_file_with_one_scale_a_weight_computes_what_its_program_does(
    target: str, rounding: str, tmp_path: Path
) -> None:
    program = made(target, granularity="tensor", rounding=rounding)
    assert max(scales(made(target))) > 1
    assert set(scales(program)) == {1}
    chosen, back_end = get_target(target), get_format(get_target(target).format)
    got = back_end.run(back_end.lower(program, chosen, tmp_path), INPUTS)[0]
    step = output_steps(program)[0]
    assert step is not None
    steps = np.rint((got - reference_outputs(program, INPUTS)[0]) / step)
    assert np.abs(steps).max() <= 1
    assert np.mean(steps != 0) <= 0.001


def test_a_scale_a_channel_is_the_default_and_nearer_to_float() -> None:
    with torch.no_grad():
        wanted = np.concatenate([net("mobile").module(torch.from_numpy(x[None])).numpy() for x in INPUTS[0]])
    off = {
        granularity: np.mean((reference_outputs(made("onnx-x86_64", granularity=granularity), INPUTS)[0] - wanted) ** 2)
        for granularity in ("channel", "tensor")
    }
    assert off["channel"] < off["tensor"]
    assert Quantize() == Quantize(granularity="channel")
