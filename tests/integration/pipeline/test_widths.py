"""Narrower forms through the pipeline: what is scored is what is installed, and nothing is trained twice."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from edgekit.catalog import get_target
from edgekit.core.device import Device
from edgekit.core.project import Budget, DataSource, MetricSource, ModelSource, Project
from edgekit.core.target import Target
from edgekit.errors import ModelError
from edgekit.formats.child import run_model
from edgekit.models.data import Samples
from edgekit.models.model import capture
from edgekit.pipeline import programs
from edgekit.pipeline.build import build
from edgekit.pipeline.choices import space_of
from edgekit.pipeline.events import Event
from edgekit.pipeline.job import Job
from edgekit.pipeline.tune import tune
from edgekit.pipeline.workshop import Workshop
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger
from edgekit.store.weights import WeightStore


@pytest.fixture(scope="module")
def job() -> Job:
    """A small net that learned which of four pixels is the brightest."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 4),
    )  # fmt: skip
    inputs = np.random.default_rng(0).normal(size=(512, 1, 8, 8)).astype(np.float32)
    labels = inputs.reshape(512, 1, 2, 4, 2, 4).mean((3, 5)).reshape(512, 4).argmax(1)
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.from_numpy(inputs)), torch.from_numpy(labels)).backward()
        optimizer.step()
    samples = Samples((inputs,), labels)
    project = Project(
        name="widths", model=ModelSource(source="net.py:net", shape=(1, 1, 8, 8)),
        data=DataSource(calibration="a.npz", validation="b.npz", test="c.npz"), metric=MetricSource(max_drop="30%"),
        budget=Budget(pushes=8, epochs=1.0, tunings=1, shapes=3),
    )  # fmt: skip
    data = dict.fromkeys(("calibration", "training", "validation", "test"), samples)
    return Job(project, Path(), capture(net.eval(), (torch.zeros(1, 1, 8, 8),), "widths"), data)


@pytest.fixture
def target() -> Target:
    return get_target("onnx-x86_64")


def test_what_was_scored_is_what_is_built_and_a_second_run_trains_nothing(
    job: Job, target: Target, tmp_path: Path
) -> None:
    space, weights, said = space_of(job, target), WeightStore(tmp_path / "weights"), list[Event]()
    points = [space.at_share(0.5, int8) for int8 in ((), space.int8_layers, ("0",))]

    def outputs(name: str) -> list[np.ndarray]:
        workshop = Workshop(job, space, target, weights, tmp_path / name, listen=said.append)
        workshop.prepare(points, "full")
        found = workshop.outputs(points, "full")
        return [found[point] for point in points]

    first = outputs("first")
    assert any("fine-tuning" in event.text for event in said)
    said.clear()
    again = outputs("again")
    store = ArtifactStore(tmp_path / "store")
    workshop = Workshop(job, space, target, weights, tmp_path / "third")
    for point, one, two in zip(points, first, again, strict=True):
        artifact = build(job, workshop.recipe(point), target, store, weights, listen=said.append).artifact
        three = run_model(artifact.format, store.model_path(artifact), job.data["validation"].inputs)[0]
        np.testing.assert_array_equal(one, two)
        # A float form has its BatchNorm folded by torch among mixes, by the runtime where it is built alone.
        np.testing.assert_allclose(one, three, rtol=0, atol=0 if point.int8 else 1e-5)
    assert not any("fine-tuning" in event.text for event in said)
    sizes = [workshop.file(space.at_share(share), "quick").stat().st_size for share in (0.5, 1)]
    assert sizes[0] < 0.6 * sizes[1]


def test_training_that_fails_is_tried_once_and_every_form_of_that_shape_says_why(
    job: Job, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, tried = space_of(job, target), []

    def diverges(*_args: object, **_options: object) -> None:
        tried.append(1)
        raise ModelError("recover: training diverged at step 3")

    monkeypatch.setattr(programs, "reshape", diverges)
    workshop = Workshop(job, space, target, WeightStore(tmp_path / "weights"), tmp_path)
    points = [space.at_share(0.5, int8) for int8 in ((), space.int8_layers)]
    workshop.prepare(points, "full")
    for point in points:
        with pytest.raises(ModelError, match="diverged"):
            workshop.file(point, "full")
    assert len(tried) == 1


@pytest.mark.parametrize("minimise", ["latency", pytest.param("memory", marks=pytest.mark.slow)])
def test_a_net_is_tuned_in_width_and_precision_on_this_computer(
    job: Job, target: Target, tmp_path: Path, minimise: str
) -> None:
    """Whatever is chosen is not worse than float in what was asked for, and narrower forms were tried."""
    project = msgspec.structs.replace(job.project, minimise=minimise)
    asked = Job(project, job.root, job.model, job.data)
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        study = tune(
            asked, Device(name="local", transport="local", root=str(tmp_path / "device")), target,
            ArtifactStore(tmp_path / "store"), WeightStore(tmp_path / "weights"), ledger,
        )  # fmt: skip
    assert study.choice is not None
    assert not any("not known on this device" in word for word in study.choice.explanation.words)
    narrow = [trial for trial in study.trials if trial.name.startswith("width-")]
    assert narrow and any(trial.quality or trial.measurement for trial in narrow)
    if not study.choice.kept_float:
        chosen = next(trial for trial in study.trials if trial.name == study.choice.trial)
        assert chosen.comparison is not None
        assert chosen.comparison.verdict == ("faster" if minimise == "latency" else chosen.comparison.verdict)
