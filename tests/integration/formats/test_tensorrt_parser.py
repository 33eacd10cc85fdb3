"""NVIDIA's own parser: what it says is told as just that, and where it is not installed that is told."""

from pathlib import Path

import onnx
import pytest
from nets import net, noise
from onnx import TensorProto, helper

from edgekit.catalog import get_target
from edgekit.compress.quantize import quantize
from edgekit.core.recipe import Quantize
from edgekit.formats.pack import package
from edgekit.formats.tensorrt import FORMAT
from edgekit.formats.tensorrt_parser import MODULE, NOT_DONE, parser_words
from edgekit.formats.verify import verify
from edgekit.models.program import export

ORIN = get_target("tensorrt-jetson-orin")


def unread(tmp_path: Path) -> Path:
    """A file with an op that no TensorRT has."""
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 4)) for n in "xy")
    nodes = [helper.make_node("Unique", ["x"], ["y"], name="odd")]
    graph = helper.make_graph(nodes, "g", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path := tmp_path / "odd.onnx")
    return path


def test_verifying_says_that_nvidias_parser_was_not_asked_or_what_it_said(tmp_path: Path) -> None:
    program = export(net("mobile"))
    path = FORMAT.lower(program, ORIN, tmp_path / "lowered")
    artifact = package(program, ORIN, path, folder=tmp_path / "artifact", key="k", name="net")
    [remark] = verify(artifact, tmp_path / "artifact").remarks
    assert remark == NOT_DONE or remark.endswith("; no engine was built or run")
    assert "no engine was built" in remark or "not read" in remark


def test_nvidias_parser_reads_what_is_written_and_refuses_by_op_name(tmp_path: Path) -> None:
    pytest.importorskip(MODULE, reason="tensorrt-rtx is not installed: pip install 'edgekit[tensorrt-rtx]'")
    program = quantize(net("residual"), Quantize(), ORIN.numerics, noise(8))
    assert "parsed by TensorRT-RTX" in parser_words(FORMAT.lower(program, ORIN, tmp_path / "lowered"))
    assert "REFUSED by TensorRT-RTX" in (said := parser_words(unread(tmp_path)))
    assert "op Unique (odd)" in said
    for at, raw in enumerate((b"", b"nonsense", unread(tmp_path).read_bytes()[:40])):
        (path := tmp_path / f"bad{at}.onnx").write_bytes(raw)
        assert "REFUSED by TensorRT-RTX" in parser_words(path)
