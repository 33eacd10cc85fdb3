"""A transformer through the pipeline where the target holds int8 of two kinds: mixes, and which kind is chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from zoo.sequences import Block

from edgekit.catalog import get_target
from edgekit.core.device import Device
from edgekit.core.project import Budget, Compress, DataSource, MetricSource, ModelSource, Project
from edgekit.core.target import Target
from edgekit.formats.child import run_model
from edgekit.models.data import Samples
from edgekit.models.model import capture
from edgekit.pipeline.build import build
from edgekit.pipeline.choices import space_of
from edgekit.pipeline.job import Job
from edgekit.pipeline.tune import tune
from edgekit.pipeline.workshop import Workshop
from edgekit.report.page import render
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger
from edgekit.store.weights import WeightStore

SIDE = 96


class Vision(nn.Module):
    """A small vision transformer: patches of 16, blocks that are 192 wide, a mean."""

    def __init__(self, depth: int = 1, width: int = 192) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.position = nn.Parameter(0.02 * torch.randn(1, (SIDE // 16) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, 3, 4 * width) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(1))


def pictures(count: int, seed: int) -> np.ndarray:
    """Smooth noise, some of it a hundred times as bright as other: one scale for all of it is too coarse for most."""
    draw = np.random.default_rng(seed)
    coarse = draw.standard_normal((count, 3, SIDE // 8, SIDE // 8)).repeat(8, 2).repeat(8, 3)
    bright = 10.0 ** draw.uniform(-1, 1, (count, 1, 1, 1))
    return np.asarray(bright * coarse, np.float32)


def likeness(outputs: np.ndarray, labels: np.ndarray) -> float:
    """1 for outputs that are the float model's, 0 for outputs as far from them as their mean."""
    return float(1 - np.mean((outputs - labels) ** 2) / np.var(labels))


@pytest.fixture(scope="module")
def job() -> Job:
    torch.manual_seed(0)
    net = Vision().eval()

    def samples(count: int, seed: int) -> Samples:
        inputs = pictures(count, seed)
        with torch.no_grad():
            return Samples((inputs,), net(torch.from_numpy(inputs)).numpy())

    project = Project(
        name="vision", model=ModelSource(source="net.py:net", shape=(1, 3, SIDE, SIDE)),
        data=DataSource(calibration="a.npz", validation="b.npz", test="c.npz"), metric=MetricSource(max_drop=0.01),
        budget=Budget(pushes=6), compress=Compress(width=False),
    )  # fmt: skip
    data = {"calibration": samples(16, 1), "validation": samples(24, 2), "test": samples(24, 3)}
    model = capture(net, (torch.from_numpy(pictures(1, 0)),), "vision")
    return Job(project, Path(), model, data, likeness)


@pytest.fixture
def target() -> Target:
    return get_target("onnx-x86_64")


def test_mixes_of_either_kind_are_what_is_built_by_their_recipes(job: Job, target: Target, tmp_path: Path) -> None:
    space, weights = space_of(job, target), WeightStore(tmp_path / "weights")
    assert space.precisions == ("int8", "int8-dynamic")
    some = ("patch", "blocks.0.qkv", "blocks.0.fc2")
    points = [space.float_form, *(space.point(some, precision=p) for p in space.precisions)]
    workshop, store = Workshop(job, space, target, weights, tmp_path), ArtifactStore(tmp_path / "store")
    workshop.prepare(points, "full")
    outputs = workshop.outputs(points, "full")
    for point in points[1:]:
        artifact = build(job, workshop.recipe(point), target, store, weights).artifact
        built = run_model(artifact.format, store.model_path(artifact), job.data["validation"].inputs)[0]
        np.testing.assert_array_equal(outputs[point], built)
    floats, *mixes = (outputs[point] for point in points)
    assert all(np.abs(mix - floats).max() > 0 for mix in mixes)
    np.testing.assert_allclose(floats, job.float_outputs("validation"), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_kind_of_int8_that_is_faster_and_keeps_the_accuracy_is_chosen_and_the_other_is_named(
    job: Job, target: Target, tmp_path: Path
) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        study = tune(
            job, Device(name="local", transport="local", root=str(tmp_path / "device")), target,
            ArtifactStore(tmp_path / "store"), WeightStore(tmp_path / "weights"), ledger,
        )  # fmt: skip
    assert study.choice is not None
    trials = {trial.name: trial for trial in study.trials}
    keeps = {
        name for name, trial in trials.items()
        if all(q.bound is None or q.drop_high <= q.bound for q in trial.quality) and trial.comparison
    }  # fmt: skip
    assert "int8" not in keeps, "static int8 has one scale for dark and bright pictures"
    assert "int8" in trials and trials["int8-dynamic"].quality
    fast = {name for name in keeps if (c := trials[name].comparison) and c.verdict == "faster"}
    assert study.choice.kept_float == (not fast)
    told = " ".join(study.choice.explanation.words)
    if fast:
        layers = study.choice.explanation.layers
        assert {"int8-dynamic"} <= {layer.precision for layer in layers} <= {"int8-dynamic", "fp32"}
        assert "layers int8-dynamic" in told and "All layers in one precision: int8 takes" in told
        assert "int8-dynamic" in render(study)
    else:
        assert "Keep float" in told
