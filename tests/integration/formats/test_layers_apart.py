"""The proof layer by layer: each layer of a compiled file, given the reference's input, makes its output."""

from pathlib import Path

import numpy as np
import pytest
import torch
from nets import ONNX_X86, TFLITE_X86
from zoo import hard, hard_samples, images, seen

from edgekit.catalog.targets import get_target
from edgekit.compress.apart import set_apart
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import reference_outputs
from edgekit.core.recipe import Quantize
from edgekit.core.target import Target
from edgekit.formats.apart import layer_errors
from edgekit.formats.onnx import FORMAT
from edgekit.models.program import Program

TARGETS = (ONNX_X86, get_target("tensorrt-jetson-orin"))


def int8(name: str, target: Target) -> Program:
    return quantize(seen(name), Quantize(), target.numerics, images(8))


@pytest.mark.parametrize(("name", "target"), [("audio", TARGETS[0]), ("gru", TARGETS[1]), ("encoder", TARGETS[0])])
def test_every_layer_of_a_hard_case_is_the_references(name: str, target: Target, tmp_path: Path) -> None:
    program = quantize(hard(name), Quantize(), target.numerics, hard_samples(name, 8))
    errors = layer_errors(program, target, hard_samples(name, 2, seed=1).inputs, tmp_path)
    assert [str(error) for error in errors if not error.within] == []
    assert set(program.layers) <= {error.module for error in errors}


def test_a_layer_that_is_called_twice_is_right_in_both_places(tmp_path: Path) -> None:
    errors = layer_errors(int8("Padded", ONNX_X86), ONNX_X86, images(2, seed=1).inputs, tmp_path)
    assert [str(error) for error in errors if not error.within] == []
    assert [error.module for error in errors].count("c") == 2


@pytest.mark.slow
def test_every_layer_of_a_tflite_file_is_the_references(tmp_path: Path) -> None:
    errors = layer_errors(int8("Squeeze", TFLITE_X86), TFLITE_X86, images(2, seed=1).inputs, tmp_path)
    assert [str(error) for error in errors if not error.within] == []
    assert {"a", "r", "e", "b", "fc"} <= {error.module for error in errors}


def test_layers_apart_make_what_they_make_together() -> None:
    """Given what they take in the whole program, the last of them makes the whole program's output."""
    program, inputs = int8("Shuffle", ONNX_X86), images(3, seed=1).inputs
    apart, values = set_apart(program, inputs)
    assert len(apart.takes) == len(values) == len(apart.program.spec.inputs)
    assert [part.module for part in apart.parts if part.module in program.layers] == list(program.layers)
    assert np.array_equal(reference_outputs(apart.program, values)[-1], reference_outputs(program, inputs)[0])


def test_the_layer_that_a_back_end_gets_wrong_is_the_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lower = FORMAT.lower

    def lower_wrongly(program: Program, target: Target, folder: Path) -> Path:
        bias = program.exported.state_dict["r.bias"]
        program.exported.state_dict["r.bias"] = torch.nn.Parameter(bias + 0.1, requires_grad=False)
        path = lower(program, target, folder)
        program.exported.state_dict["r.bias"] = bias
        return path

    monkeypatch.setattr(FORMAT, "lower", lower_wrongly)
    errors = layer_errors(int8("Squeeze", ONNX_X86), ONNX_X86, images(2, seed=1).inputs, tmp_path)
    (wrong,) = [error for error in errors if not error.within]
    assert wrong.module == "r"
    assert "r (conv2d relu): up to" in str(wrong)
