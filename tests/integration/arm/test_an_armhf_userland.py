"""A board with 32 bits: what it is told apart by, the only runtime that it can have, and files there."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nets import net, noise

from edgekit.bench.session import Bench, Form
from edgekit.catalog.firmware import firmware_of
from edgekit.catalog.targets import fitting_targets, get_target, targets
from edgekit.compress.quantize import quantize
from edgekit.compress.reference import output_steps, reference_outputs
from edgekit.core.device import Device
from edgekit.core.measurement import Options
from edgekit.core.recipe import Quantize
from edgekit.devices.agent import agent_command
from edgekit.devices.connect import connect
from edgekit.devices.facts import gather
from edgekit.devices.prepare import prepare
from edgekit.devices.push import stage
from edgekit.devices.transport import Transport
from edgekit.errors import DeviceError
from edgekit.formats.base import get_format
from edgekit.lab.arm import ARMHF, arm_device, missing
from edgekit.lab.sshd import Sshd

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing(ARMHF)), reason=str(missing(ARMHF)))]

KEPT = Path(__file__).parents[3] / ".bench" / "debian-12-armhf"
"""Made once; `make clean` removes it."""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with arm_device(tmp_path_factory.mktemp("armhf"), KEPT, ARMHF) as server:
        yield server


@pytest.fixture
def device(board: Sshd) -> Device:
    return board.device(".edgekit", name="arm32", python="python3", user="root")


@pytest.fixture
def way(device: Device) -> Iterator[Transport]:
    with connect(device) as transport:
        yield transport


def test_it_is_told_from_a_64_bit_board_and_offered_what_runs_there(way: Transport, device: Device) -> None:
    facts = gather(way, device)
    assert (facts.arch, facts.cpu, facts.cores > 0, facts.emulated) == ("armv7l", "Cortex-A15", True, False)
    assert (facts.os_id, facts.libc, (facts.python or "")[:4]) == ("debian", "glibc 2.36", "3.11")
    assert [target.name for target in fitting_targets(facts, targets())] == ["tflite-armv7l"]


def test_a_runtime_without_wheels_for_it_is_refused_with_the_one_that_has_some(way: Transport, device: Device) -> None:
    facts = gather(way, device)
    with pytest.raises(DeviceError, match=r"no onnxruntime for armv7l, Python 3\.11.*it can have litert"):
        prepare(way, device, facts, firmware_of(facts), "onnxruntime")


def test_it_gets_tflite_runtime_beside_its_own_numpy_and_computes_what_the_hosts_program_does(
    way: Transport, device: Device, tmp_path: Path
) -> None:
    facts, target = gather(way, device), get_target("tflite-armv7l")
    environment = prepare(way, device, facts, firmware_of(facts), target.runtime)
    runtimes = dict(gather(way, device).runtimes)
    assert (runtimes["numpy"], set(runtimes)) == (dict(facts.runtimes)["numpy"], {"numpy", "tflite-runtime"})
    program, inputs = quantize(net("residual"), Quantize(), target.numerics, noise(32)), noise(4, seed=1).inputs
    path = get_format(target.format).lower(program, target, tmp_path)
    np.savez(tmp_path / "v.npz", in_0=inputs[0], out_0=reference_outputs(program, inputs)[0])
    folder = stage(way, device, {path.name: path, "v.npz": tmp_path / "v.npz"})
    bench = Bench(way, agent_command(way, device, environment), Options(threads=1, runtime=target.runtime))
    step = output_steps(program)[0]
    assert step is not None
    assert bench.vectors(Form(id="int8", path=f"{folder}/{path.name}", inputs=f"{folder}/v.npz"))[0] <= 1.001 * step


def test_a_file_pushed_there_is_whole(way: Transport, device: Device, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content := os.urandom(300_001))
    folder = stage(way, device, {"sub dir/m": tmp_path / "m"})
    done = way.run(("sha256sum", f"{folder}/sub dir/m"), timeout_s=60)
    assert done.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()
