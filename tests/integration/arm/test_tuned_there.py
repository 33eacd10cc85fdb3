"""The whole way on an Arm userland over SSH: tuned, compiled and priced there, installed there, and run from there."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import edgekit as ek
from edgekit.catalog.firmware import firmware_of
from edgekit.core.device import Device
from edgekit.devices.connect import connect, python_of
from edgekit.devices.facts import gather
from edgekit.devices.inventory import add_device
from edgekit.devices.prepare import prepare, runtime_environment
from edgekit.lab.arm import ARM64, arm_device, missing
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing(ARM64)), reason=str(missing(ARM64)))]

KEPT = Path(__file__).parents[3] / ".bench" / "debian-12-arm64"
SHAPE = (1, 3, 12, 12)
INPUTS = np.random.default_rng(0).normal(size=(240, *SHAPE[1:])).astype(np.float32)
LABELS = INPUTS.reshape(240, -1)[:, :4].argmax(1)
ALIKE = 0.999
"""Kernels of two processors round the same integers, but for a few that fall between two steps."""

RUN = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
x = numpy.load(sys.argv[2])["x"]
name = session.get_inputs()[0].name
numpy.save(sys.argv[3], numpy.concatenate([session.run(None, {name: x[i : i + 1]})[0] for i in range(len(x))]))
"""


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    with arm_device(tmp_path / "arm64", KEPT, ARM64) as server:
        found = server.device("edge", name="arm", python="python3", user="root")
        add_device(found)
        with connect(found) as way:
            facts = gather(way, found)
            prepare(way, found, facts, firmware_of(facts), "onnxruntime")
        yield found


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 64, 4)
    )


def outputs_here(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: INPUTS[i : i + 1]})[0] for i in range(len(INPUTS))])


def outputs_there(device: Device, artifact: ek.Artifact, folder: Path) -> np.ndarray:
    """What the installed model gives, loaded from where a program of the device would load it."""
    np.savez(folder / "x.npz", x=INPUTS)
    with connect(device) as way:
        way.put(folder / "x.npz", "x.npz", timeout_s=60)
        environment = [f"{key}={value}" for key, value in runtime_environment(way, device)]
        path = f"{device.root}/models/{artifact.name}/current/{artifact.model_file}"
        words = ("env", *environment, python_of(device), "-c", RUN, path, "x.npz", "y.npy")
        done = way.run(words, timeout_s=250)
        assert done.status == 0, done.stderr
        way.get("y.npy", folder / "y.npy", timeout_s=60)
    return np.load(folder / "y.npy")


def test_a_model_is_tuned_installed_and_run_there_with_the_hosts_outputs(device: Device, tmp_path: Path) -> None:
    studies = ek.tune(
        net(), torch.zeros(SHAPE), calibration=(INPUTS, LABELS), evaluate="accuracy", devices=["arm"],
        max_drop=0.5, pushes=4,
    )  # fmt: skip
    study, choice = studies.study(), studies.choice()
    assert choice.target == "onnx-aarch64"
    assert {trial.name for trial in study.trials if trial.comparison is not None} >= {"int8"}
    assert re.search(r"[1-9]\d* compiled and priced", choice.explanation.words[0]), choice.explanation.words
    with connect(device) as way:
        assert dict(study.versions)["onnxruntime"] == dict(gather(way, device).runtimes)["onnxruntime"]
    store = ArtifactStore(artifacts_folder())
    alike(outputs_there(device, store.find(choice.artifact), tmp_path), store.model_path(store.find(choice.artifact)))
    for form in ("float", "int8"):
        made = ek.convert(net(), torch.zeros(SHAPE), recipe=form, calibration=(INPUTS, LABELS), target=choice.target)
        assert ek.push(made.artifact, device="arm").deployment.active
        alike(outputs_there(device, made.artifact, tmp_path), store.model_path(made.artifact))


def alike(there: np.ndarray, path: Path) -> None:
    """Float outputs differ by rounding alone; quantized ones are the same step, or in few cases the next."""
    here = outputs_here(path)
    grid = np.unique(np.round(here, 6))
    if len(grid) > 256:
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
        return
    off = np.abs(np.rint((there - here) / np.min(np.diff(grid))))
    assert off.max() <= 1
    assert np.mean(off == 0) >= ALIKE
