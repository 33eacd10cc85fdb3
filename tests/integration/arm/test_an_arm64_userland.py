"""From this computer to an Arm board's userland: prepared, filled and run there, with the reference's outputs."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nets import NETS, net, noise

from edgekit.bench.session import Bench, Form, Plan
from edgekit.catalog.firmware import firmware_of
from edgekit.catalog.targets import default_target, get_target
from edgekit.cli.main import run
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.core.recipe import Precision, Quantize
from edgekit.devices.agent import agent_command
from edgekit.devices.connect import connect, python_of
from edgekit.devices.facts import gather
from edgekit.devices.prepare import prepare, runtime_environment
from edgekit.devices.push import stage
from edgekit.devices.transport import Transport
from edgekit.formats.base import get_format
from edgekit.lab.arm import ARM64, arm_device, missing
from edgekit.lab.sshd import Sshd
from edgekit.models.program import Program

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing(ARM64)), reason=str(missing(ARM64)))]

KEPT = Path(__file__).parents[3] / ".bench" / "debian-12-arm64"
"""Made once; `make clean` removes it."""

COUNT = 256

OUTPUTS = """
import sys
import numpy
{load}
x = numpy.load(sys.argv[2])["in_0"]
numpy.save(sys.argv[3], numpy.concatenate([call(x[i : i + 1]) for i in range(len(x))]))
"""
ONNXRUNTIME = """
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
def call(x):
    return session.run(None, {session.get_inputs()[0].name: x})[0]
"""
LITERT = """
from ai_edge_litert.interpreter import Interpreter
inside = Interpreter(model_path=sys.argv[1], num_threads=1)
inside.allocate_tensors()
def call(x):
    inside.set_tensor(inside.get_input_details()[0]["index"], x)
    inside.invoke()
    return inside.get_tensor(inside.get_output_details()[0]["index"])
"""
RUNTIMES = {"onnx-aarch64": ONNXRUNTIME, "tflite-aarch64": LITERT}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with arm_device(tmp_path_factory.mktemp("arm64"), KEPT, ARM64) as server:
        yield server


@pytest.fixture
def device(board: Sshd) -> Device:
    return board.device(".edgekit", name="arm", python="python3", user="root")


@pytest.fixture
def way(device: Device) -> Iterator[Transport]:
    with connect(device) as transport:
        yield transport


def int8(name: str, target: str) -> Program:
    return quantize(net(name), Quantize(), get_target(target).numerics, noise(32))


def test_it_is_recognised(way: Transport, device: Device) -> None:
    facts = gather(way, device)
    firmware = firmware_of(facts)
    assert firmware is not None
    assert (firmware.name, facts.arch, facts.cpu, facts.emulated) == ("debian-12-arm64", "aarch64", "Cortex-A72", False)
    assert [default_target(facts, kind).name for kind in ("onnx", "tflite")] == list(RUNTIMES)


def given_there(
    program: Program, target: str, inputs: np.ndarray, way: Transport, device: Device, folder: Path
) -> np.ndarray:
    """What the target's runtime gives there for `inputs`."""
    facts, wanted = gather(way, device), get_target(target)
    environment = prepare(way, device, facts, firmware_of(facts), wanted.runtime)
    path = get_format(wanted.format).lower(program, wanted, folder)
    np.savez(folder / "v.npz", in_0=inputs)
    there = stage(way, device, {path.name: path, "v.npz": folder / "v.npz"})
    script = OUTPUTS.format(load=RUNTIMES[target])
    words = ("env", *(f"{key}={value}" for key, value in environment), python_of(device), "-c", script)
    done = way.run((*words, f"{there}/{path.name}", f"{there}/v.npz", "/root/y.npy"), timeout_s=250)
    assert done.status == 0, done.stderr
    way.get("/root/y.npy", folder / "y.npy", timeout_s=60)
    return np.load(folder / "y.npy")


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("target", RUNTIMES)
def test_an_arm_kernel_computes_what_the_hosts_program_does(
    target: str, name: str, way: Transport, device: Device, tmp_path: Path
) -> None:
    program, inputs = int8(name, target), noise(COUNT, seed=1).inputs
    got = given_there(program, target, inputs[0], way, device, tmp_path)
    reference, step = reference_outputs(program, inputs)[0], output_steps(program)[0]
    assert step is not None
    off = np.abs(np.rint((got - reference) / step))
    assert off.shape == (COUNT, 10)
    assert len(np.unique(np.rint(reference / step))) > 50
    assert off.max() <= 1
    assert np.mean(off == 0) >= 0.999


@pytest.mark.parametrize("precision", ["fp16", "int8-dynamic", "int8-weights", "int4-weights"])
def test_an_arm_kernel_computes_every_precision_of_its_target(
    precision: Precision, way: Transport, device: Device, tmp_path: Path
) -> None:
    target, inputs = get_target("onnx-aarch64"), noise(8, seed=1).inputs
    assert precision in target.numerics.precisions
    program = quantize(net("residual"), Quantize(default=precision), target.numerics, noise(32))
    got = given_there(program, target.name, inputs[0], way, device, tmp_path)
    wanted = reference_outputs(program, inputs)[0]
    assert np.abs(got - wanted).max() < (2e-3 if precision == "fp16" else 1e-5) * np.abs(wanted).max()


def test_the_agent_measures_there_and_onnxruntime_runs_every_layer_in_int8(
    way: Transport, device: Device, tmp_path: Path
) -> None:
    target = get_target("onnx-aarch64")
    facts = gather(way, device)
    environment = prepare(way, device, facts, firmware_of(facts), "onnxruntime")
    program, inputs = int8("residual", "onnx-aarch64"), noise(4, seed=1).inputs
    path = get_format("onnx").lower(program, target, tmp_path)
    np.savez(tmp_path / "v.npz", in_0=inputs[0], out_0=reference_outputs(program, inputs)[0])
    folder = stage(way, device, {path.name: path, "v.npz": tmp_path / "v.npz"})
    form = Form(id="int8", path=f"{folder}/{path.name}", inputs=f"{folder}/v.npz")
    bench = Bench(way, agent_command(way, device, environment), Options(threads=1, runtime="onnxruntime"))
    version, _ = bench.version()
    assert version == dict(gather(way, device).runtimes)["onnxruntime"]
    assert bench.vectors(form)[0] <= 1.001 * output_steps(program)[0]  # type: ignore[operator]
    [graph] = bench.compile([form])
    ops = Counter(node.kind.rpartition(".")[2] for node in graph.nodes)
    assert ops["QLinearConv"] == len(program.layers) - 1
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(ops)
    [once] = bench.rounds([form], "int8", Plan(least=1, most=1, seconds=0.01, warmup_s=0.1))
    assert [reading.artifact for reading in once.readings] == ["int8"]


def test_there_too_a_dynamic_layer_is_one_op_and_four_bits_stay_four_bits(
    way: Transport, device: Device, tmp_path: Path
) -> None:
    target, facts = get_target("onnx-aarch64"), gather(way, device)
    environment = prepare(way, device, facts, firmware_of(facts), "onnxruntime")
    bench = Bench(way, agent_command(way, device, environment), Options(threads=1, runtime="onnxruntime"))
    np.savez(tmp_path / "v.npz", in_0=noise(1).inputs[0])
    for precision, op in (("int8-dynamic", "DynamicQuantizeMatMul"), ("int4-weights", "MatMulNBits")):
        program = quantize(net("concat"), Quantize(default=precision), target.numerics, noise(8))  # type: ignore[arg-type]
        path = get_format("onnx").lower(program, target, tmp_path / precision)
        there = stage(way, device, {path.name: path, "v.npz": tmp_path / "v.npz"})
        [graph] = bench.compile([Form(id=precision, path=f"{there}/{path.name}", inputs=f"{there}/v.npz")])
        ops = Counter(node.kind.rpartition(".")[2] for node in graph.nodes)
        assert ops[op] == 1
        assert not {"Gemm", "MatMul"} & set(ops)


def test_from_the_command_line_it_is_enrolled_prepared_and_left_as_it_was(
    board: Sshd, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        code = run(words)
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    added = said(
        "devices", "add", "arm", "root@127.0.0.1", "--port", str(board.port), "--identity", str(device.identity),
        "--root", "edge",
    )  # fmt: skip
    assert "debian-12-arm64" in added
    assert "emulated" not in added
    (board.folder / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t: fpu avx2 avx512_vnni\n")
    probed = said("devices", "probe", "arm")
    (board.folder / "cpuinfo").write_text(ARM64.cpuinfo)
    assert "its times say nothing of a board" in probed
    assert "avx2" not in probed
    prepared = json.loads(said("devices", "prepare", "arm", "--runtime", "litert", "--json"))
    assert prepared["environment"]["PYTHONPATH"] == "/root/edge/site/litert"
    assert "litert" in said("devices", "probe", "arm")
    said("devices", "remove", "arm", "--purge")
    with connect(device) as way:
        assert way.run(("ls", "-A", "/root/edge"), timeout_s=60).status != 0
        assert runtime_environment(way, Device(name="arm", root="edge")) == ()
