"""The agent as it is started on a board: sent over SSH, its form staged, its ops priced, nothing left beside it."""

from pathlib import Path

import numpy as np
import pytest
from disks import fill_up, small_disk

from edgekit.bench.session import Bench, Form, Plan
from edgekit.core.measurement import Options
from edgekit.devices.agent import agent_command
from edgekit.devices.connect import connect
from edgekit.devices.push import stage
from edgekit.errors import StorageError
from edgekit.lab.sshd import Sshd

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def gemm(path: Path) -> Path:
    weight = numpy_helper.from_array(np.full((64, 64), 0.1, np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="product"),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, 64)) for n in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [given], [made], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_form_is_measured_and_priced_over_ssh(sshd: Sshd, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", in_0=np.ones((2, 64), np.float32))
    device = sshd.device(tmp_path / "root")
    with connect(device) as transport:
        folder = stage(transport, device, {"m.onnx": gemm(tmp_path / "m.onnx"), "v.npz": tmp_path / "v.npz"})
        form = Form(id="m", path=f"{folder}/m.onnx", inputs=f"{folder}/v.npz")
        bench = Bench(transport, agent_command(transport, device), Options(threads=1, runtime="onnxruntime"))
        [(graph, ops)] = bench.trace([form], calls=5, loads=1)
        prices = bench.price_ops([form], [graph])
        rounds = bench.rounds([form], "m", Plan(least=2, most=2, seconds=0.01, warmup_s=0.1))
    assert [op.name for op in ops] == ["product", "relu"]
    assert set(prices) == set(graph.signatures)
    assert {price.source for price in prices.values()} == {"farm"}
    assert len(rounds) == 2
    left = sorted(path.name for path in Path(form.path).parent.iterdir() if path.name.startswith(".edgekit-"))
    assert left == []


def test_a_device_without_room_for_what_it_compiles_says_so(sshd: Sshd, tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", in_0=np.ones((2, 64), np.float32))
    with small_disk(tmp_path / "disk", "4m") as disk:
        device = sshd.device(disk / "root")
        with connect(device) as transport:
            folder = stage(transport, device, {"m.onnx": gemm(tmp_path / "m.onnx"), "v.npz": tmp_path / "v.npz"})
            form = Form(id="m", path=f"{folder}/m.onnx", inputs=f"{folder}/v.npz")
            bench = Bench(transport, agent_command(transport, device), Options(threads=1, runtime="onnxruntime"))
            graphs = bench.compile([form])
            filler = fill_up(disk)
            for asked in (bench.compile, bench.trace, lambda forms: bench.price_ops(forms, graphs)):
                with pytest.raises(StorageError, match="No space left"):
                    asked([form])
            filler.unlink()
            assert bench.compile([form]) == graphs
