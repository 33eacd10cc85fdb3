"""edgekit's power-of-two numerics are AMD Quark's XINT8: what Quark 0.13 made of the same weights and samples."""

import json
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.catalog.targets import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.recipe import Quantize
from edgekit.formats.vitis_ai import FORMAT
from edgekit.models.data import Samples
from edgekit.models.model import capture

GOLDEN = Path(__file__).parents[2] / "golden" / "quark"
TARGET = get_target("vitis_ai-dpuczdx8g-b4096")


@pytest.fixture(scope="module")
def quark() -> dict[str, Any]:
    return json.loads((GOLDEN / "captured_xint8.json").read_text())


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return run_path(str(GOLDEN / "capture.py"), run_name="capture")


@pytest.fixture(scope="module")
def path(made: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = capture(made["net"](), (torch.zeros(1, 3, 16, 16),), "quark")
    program = quantize(model, Quantize(ranges="mse"), TARGET.numerics, Samples((made["images"](64, 1),)))
    return FORMAT.lower(program, TARGET, tmp_path_factory.mktemp("file"))


def test_every_scale_is_the_power_that_quark_finds(path: Path, made: dict[str, Any], quark: dict[str, Any]) -> None:
    ours, theirs = made["powers"](path), [op for op in quark["powers"] if op["op"] != "Mul"]
    assert [op["op"] for op in ours] == [op["op"] for op in theirs]
    assert [op["inputs"] for op in ours] == [op["inputs"] for op in theirs]
    known = [(one["output"], other["output"]) for one, other in zip(ours, theirs, strict=True)]
    assert [pair for pair in known if pair[1] is not None and pair[0] != pair[1]] == []
    assert len(known) == 8


def test_every_output_is_that_of_quarks_file_to_the_bit(
    path: Path, made: dict[str, Any], quark: dict[str, Any]
) -> None:
    got = FORMAT.run(path, (made["images"](len(quark["outputs"]), 2),))[0]
    assert np.array_equal(got, np.array(quark["outputs"], np.float32))


def test_the_golden_file_is_of_the_quark_that_was_asked_for(quark: dict[str, Any]) -> None:
    assert quark["made_by"]["amd-quark"] == "0.13"
