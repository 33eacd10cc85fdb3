"""LiteRT driven by the real agent: times, memory and test vectors; of its ops it shows nothing."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from nets import net, noise

from edgekit.bench.session import Bench, Form, Plan
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.core.target import Target
from edgekit.devices.agent import agent_folder, starting
from edgekit.devices.connect import connect
from edgekit.formats.base import get_format
from edgekit.models.program import export, run

pytest.importorskip("ai_edge_litert")
pytest.importorskip("litert_torch")
FLOAT = Target(name="tflite-x86_64", title="LiteRT", format="tflite", runtime="litert")


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> Form:
    folder = tmp_path_factory.mktemp("litert")
    program = export(net("mobile"))
    path = get_format("tflite").lower(program, FLOAT, folder)
    inputs = noise(4).inputs
    outputs = [run(program, tuple(a[i : i + 1] for a in inputs))[0] for i in range(4)]
    np.savez(folder / "v.npz", in_0=inputs[0], out_0=np.concatenate(outputs))
    return Form(id="mobile", path=str(path), inputs=str(folder / "v.npz"))


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with connect(Device(name="local", transport="local")) as transport:
        yield Bench(transport, starting(sys.executable, agent_folder()), Options(threads=1, runtime="litert"))


def test_a_tflite_form_is_measured_like_any_other(bench: Bench, form: Form) -> None:
    version, conditions = bench.version()
    rounds = bench.rounds([form], form.id, Plan(least=2, most=2, seconds=0.01, warmup_s=0.1))
    found = bench.measurement(rounds, form, device="local", conditions=conditions)
    assert conditions.runtime == "litert"
    assert version[0].isdigit()
    assert found.cpu.least_s > 0
    assert (bench.peak_memory_bytes(form) or 0) > 1_000_000


def test_its_test_vectors_are_met_on_the_device(bench: Bench, form: Form) -> None:
    assert bench.vectors(form)[0] < 1e-4


def test_its_ops_are_not_shown(bench: Bench, form: Form) -> None:
    [(graph, ops)] = bench.trace([form])
    assert (graph.nodes, ops) == ((), ())
