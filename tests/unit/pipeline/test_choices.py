"""The space of a job: what the model, the project and the target leave to choose."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.catalog import get_target
from edgekit.core.project import Compress, DataSource, MetricSource, ModelSource, Project
from edgekit.core.target import Numerics, Target
from edgekit.errors import ProjectError, TargetError
from edgekit.models.data import Samples
from edgekit.models.model import capture
from edgekit.pipeline.choices import cannot_be_cut, space_of
from edgekit.pipeline.job import Job


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.inner = nn.Conv2d(32, 48, 3, padding=1)
        self.outer = nn.Conv2d(48, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head((x + self.outer(self.inner(x).relu())).mean((2, 3)))


class OneBatch(nn.Module):
    """Its program holds for one batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)).reshape(1, 32))


def job_of(module: nn.Module, compress: Compress | None = None) -> Job:
    torch.manual_seed(0)
    samples = Samples((np.zeros((4, 1, 8, 8), np.float32),))
    project = Project(
        name="tiny", model=ModelSource(source="model.py:net", shape=(1, 1, 8, 8)),
        metric=MetricSource(name="agreement"),
        data=DataSource(calibration="a.npz", validation="b.npz", test="c.npz"), compress=compress or Compress(),
    )  # fmt: skip
    model = capture(module.eval(), (torch.zeros(1, 1, 8, 8),), "tiny")
    return Job(project, Path(), model, dict.fromkeys(("calibration", "validation", "test"), samples))


@pytest.fixture
def target() -> Target:
    return get_target("onnx-x86_64")


def test_every_layer_has_its_precisions_and_every_group_its_widths(target: Target) -> None:
    space = space_of(job_of(Residual()), target)
    assert {layer.name: layer.precisions for layer in space.layers} == dict.fromkeys(
        ("stem", "inner", "outer", "head"), ("fp32", "int8", "int8-dynamic")
    )
    assert {g.name: g.widths for g in space.groups} == {"stem": (8, 16, 24, 32), "inner": (16, 24, 40, 48)}
    by_name = {layer.name: (layer.reads, layer.writes) for layer in space.layers}
    assert by_name == {
        "stem": (None, "stem"),
        "inner": ("stem", "inner"),
        "outer": ("inner", "stem"),
        "head": ("stem", None),
    }


def test_the_project_rounds_widths_as_it_says(target: Target) -> None:
    space = space_of(job_of(Residual(), Compress(round_to=16)), target)
    assert {g.name: g.widths for g in space.groups} == {"stem": (16, 32), "inner": (16, 32, 48)}


def test_what_is_frozen_keeps_its_precision_and_all_channels_it_touches(target: Target) -> None:
    space = space_of(job_of(Residual(), Compress(frozen=("inn*",))), target)
    assert space.groups == ()
    assert [layer.name for layer in space.layers if layer.precisions == ("fp32",)] == ["inner"]
    space = space_of(job_of(Residual(), Compress(frozen=("head",))), target)
    assert [group.name for group in space.groups] == ["inner"]


def test_a_pattern_that_freezes_nothing_is_named(target: Target) -> None:
    with pytest.raises(ProjectError, match=r"compress.frozen: no layer is called 'outre'; the layers: stem, inner"):
        space_of(job_of(Residual(), Compress(frozen=("outre",))), target)


def test_without_width_or_precision_the_other_one_is_left(target: Target) -> None:
    assert space_of(job_of(Residual(), Compress(width=False)), target).groups == ()
    space = space_of(job_of(Residual(), Compress(precision=False)), target)
    assert space.int8_layers == ()
    assert space.groups


def test_both_ways_of_int8_are_offered_where_the_target_holds_them_and_layers_say_their_sort(target: Target) -> None:
    numerics = msgspec.structs.replace(target.numerics, precisions=("fp32", "fp16", "int8", "int8-dynamic"))
    held = msgspec.structs.replace(target, numerics=numerics)
    space = space_of(job_of(Residual(), Compress(frozen=("stem",))), held)
    assert space.precisions == ("int8", "int8-dynamic")
    assert [(layer.precisions[1:], layer.sort) for layer in space.layers] == [
        ((), "conv"), *[(space.precisions, "conv")] * 2, (space.precisions, "linear"),
    ]  # fmt: skip
    numerics = msgspec.structs.replace(target.numerics, precisions=("fp32", "int8"))
    old = space_of(job_of(Residual()), msgspec.structs.replace(target, numerics=numerics))
    assert b"sort" not in msgspec.json.encode(old), "a study of a target with one int8 has the key that it had"


def test_nothing_to_choose_is_an_error_that_says_why(target: Target) -> None:
    with pytest.raises(TargetError, match="nothing to choose"):
        space_of(job_of(Residual(), Compress(width=False, precision=False)), target)
    floats = msgspec.structs.replace(target, numerics=Numerics())
    with pytest.raises(TargetError, match=r"it holds fp32.*batch"):
        space_of(job_of(OneBatch()), floats)


def test_a_model_of_one_batch_size_is_left_with_precisions_and_the_reason_is_told(target: Target) -> None:
    job = job_of(OneBatch())
    space = space_of(job, target)
    assert space.groups == ()
    assert space.int8_layers == ("conv", "head")
    assert any("batch" in refusal.reason for refusal in cannot_be_cut(job))
    assert cannot_be_cut(job_of(OneBatch(), Compress(width=False))) == ()
