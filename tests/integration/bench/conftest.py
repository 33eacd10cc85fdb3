"""What several tests of measuring share: a net as TFLite in float and in int8, written once: it takes seconds."""

from pathlib import Path

import pytest
from nets import TFLITE_X86, net, noise

from edgekit.compress.quantize import quantize
from edgekit.core.recipe import Quantize
from edgekit.formats.base import get_format
from edgekit.models.program import Program, export

Lowered = tuple[tuple[str, Program, Path], ...]


@pytest.fixture(scope="session")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Lowered:
    """(name, program, file) of the float form and of the int8 one."""
    pytest.importorskip("litert_torch")
    folder, model, back_end = tmp_path_factory.mktemp("lowered"), net("residual"), get_format("tflite")
    programs = {"float": export(model), "int8": quantize(model, Quantize(), TFLITE_X86.numerics, noise(16))}
    return tuple((name, p, back_end.lower(p, TFLITE_X86, folder / name)) for name, p in programs.items())
