"""Sizes that stay free: as a project and torch.export name them, and what cannot be free in one line."""

from typing import Any

import numpy as np
import pytest
import torch
from sequences import Attends, tokens
from torch import nn
from torch.export import Dim

from edgekit.compress.groups import channel_groups
from edgekit.compress.prune import prune
from edgekit.core.model import example_sizes, free_sizes, sizes_words
from edgekit.core.project import Dynamic, project_from_toml
from edgekit.core.recipe import Prune
from edgekit.errors import ModelError, ProjectError, UsageError
from edgekit.models.data import Samples
from edgekit.models.free import at_sizes, axes_of_project, axes_of_torch
from edgekit.models.model import Model, capture
from edgekit.models.program import export

BATCH, SEQUENCE = Dim("batch", min=1, max=8), Dim("sequence", min=1, max=32)
BOTH = (
    Dynamic(name="batch", axes=("in_0.0", "in_1.0"), most=8),
    Dynamic(name="sequence", axes=("in_0.1", "in_1.1"), most=32),
)


def example(batch: int = 2, length: int = 12) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(array) for array in tokens(batch, length).inputs)


def attends(batch: int = 2, length: int = 12) -> Model:
    torch.manual_seed(0)
    given = example(batch, length)
    return capture(Attends(), given, "attends", axes_of_project(BOTH, given))


def test_a_project_and_torch_say_the_same() -> None:
    given, net = example(), Attends()
    wanted = axes_of_project(BOTH, given)
    one = {0: BATCH, 1: SEQUENCE}
    for shapes in ((one, one), [one, one], {"mask": one, "ids": one}, ((BATCH, SEQUENCE), (BATCH, SEQUENCE))):
        assert axes_of_torch(shapes, net, given) == wanted
    assert axes_of_torch({"ids": {0: None, 1: 12}}, net, given) == ((), ())


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_one_program_takes_every_size_within_the_bounds_whatever_the_example_was(batch: int) -> None:
    model = attends(batch)
    assert example_sizes(model.spec.inputs) == {"batch": batch, "sequence": 12}
    assert list(free_sizes(model.spec.inputs)) == ["batch", "sequence"]
    program = export(model).exported.module()
    for rows, length in ((1, 1), (1, 32), (3, 3), (8, 32)):
        given = example(rows, length)
        for got, wanted in zip(program(*given), model.module(*given), strict=True):
            torch.testing.assert_close(got, wanted)
    with pytest.raises((RuntimeError, AssertionError)):
        program(*example(2, 33))


def test_bounds_are_part_of_a_models_digest() -> None:
    given = example()
    wider = (*BOTH[:1], Dynamic(name="sequence", axes=("in_0.1", "in_1.1"), most=31))
    digests = {attends().spec.digest, attends().spec.digest}
    torch.manual_seed(0)
    digests.add(capture(Attends(), given, "attends", axes_of_project(wider, given)).spec.digest)
    torch.manual_seed(0)
    digests.add(capture(Attends(), given, "attends").spec.digest)
    assert len(digests) == 3


def test_channels_are_cut_in_a_model_of_free_sizes_and_they_stay_free() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(6, 32), nn.Linear(32, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down(torch.relu(self.up(x))).mean(1)

    axes = (Dynamic(name="sequence", axes=("in_0.1",), most=9),)
    given = (torch.randn(1, 5, 6),)
    model = capture(Reads(), given, "reads", axes_of_project(axes, given))
    [group] = channel_groups(model)
    samples = Samples((np.random.default_rng(0).standard_normal((8, 7, 6)).astype(np.float32),))
    cut = prune(model, Prune(widths=((group.name, 16),)), samples)
    assert cut.spec.free == model.spec.free
    assert cut.module(torch.randn(1, 9, 6)).shape == (1, 4)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (Dynamic(name="batch", axes=("in_9.0",), most=8), "want axes as \"in_0.1\" .* got 'in_9.0'"),
        (Dynamic(name="batch", axes=("ids.0",), most=8), "got 'ids.0'"),
        (Dynamic(name="batch", axes=("in_0.7",), most=8), "axis 7 of in_0: the example has 2 axes"),
        (Dynamic(name="batch", axes=("in_0.0",), most=8, least=8), "want 1 <= least < most, got 8 and 8"),
        (Dynamic(name="batch", axes=("in_0.0", "in_0.0"), most=8), "an axis of in_0 is named twice"),
        (Dynamic(name="batch", axes=("in_0.1",), most=8), "the example's 12 is not within 1 to 8"),
        (Dynamic(name="both", axes=("in_0.0", "in_0.1"), most=32), "one name is one size: it is 2 elsewhere"),
        (Dynamic(name="a b", axes=("in_0.0",), most=8), "want a name of letters"),
    ],
)
def test_an_axis_that_cannot_be_is_told_in_one_line(entry: Dynamic, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        axes_of_project((entry,), example())


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (({0: Dim("batch")}, None), r"want torch.export.Dim\(name, min=…, max=…\) with bounds"),
        (({0: Dim.AUTO}, None), "with bounds"),
        (({0: 2 * BATCH}, None), "with bounds"),
        ((None,), "one entry for each of 2 inputs"),
        ({"idz": {0: BATCH}}, "forward takes no 'idz'; it takes ids, mask"),
    ],
)
def test_what_torch_would_take_and_a_file_cannot_hold_is_told(shapes: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        axes_of_torch(shapes, Attends(), example())


def test_a_net_that_holds_for_one_size_is_refused_with_the_reason() -> None:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 6) if x.shape[1] == 6 else x * 2

    given = (torch.randn(2, 6),)
    axes = axes_of_project((Dynamic(name="length", axes=("in_0.1",), most=9),), given)
    with pytest.raises(ModelError, match=r"a size cannot be free: .*length.*: fix it, or write forward") as caught:
        capture(Fixed(), given, "fixed", axes)
    assert "\n" not in str(caught.value)


def test_a_net_that_fails_at_the_largest_size_is_refused_before_anything_is_built() -> None:
    given = example()
    axes = axes_of_project((Dynamic(name="sequence", axes=("in_0.1", "in_1.1"), most=33),), given)
    with pytest.raises(ModelError, match=r"does not run on an input of shape \(2, 33\)"):
        capture(Attends(), given, "attends", axes)


def test_a_program_with_fixed_sizes_cannot_be_freed_and_one_with_free_sizes_can() -> None:
    given, one = example(), {0: BATCH, 1: SEQUENCE}
    axes = axes_of_project(BOTH, given)
    fixed, free = (torch.export.export(Attends(), given, dynamic_shapes=shapes) for shapes in (None, (one, one)))
    assert sizes_words(capture(free.module(check_guards=False), given, "free", axes).spec.inputs)
    with pytest.raises(ModelError):
        capture(fixed.module(check_guards=False), given, "fixed", axes)


def test_an_example_is_repeated_and_cut_to_a_size() -> None:
    model = attends(2, 3)
    ids, _ = at_sizes(model.example, model.spec.inputs, {"batch": 5, "sequence": 2})
    assert torch.equal(ids, model.example[0].repeat(3, 1)[:5, :2])


def test_a_project_file_names_its_free_sizes() -> None:
    text = """
        schema = 1
        name = "net"
        [model]
        source = "model.pt2"
        [[model.dynamic]]
        name = "batch"
        axes = ["in_0.0"]
        most = {most}
        [data]
        calibration = "a.npz"
        validation = "a.npz"
        test = "a.npz"
    """
    [entry] = project_from_toml(text.replace("{most}", "8"), "project.toml").model.dynamic
    assert (entry.name, entry.least, entry.most) == ("batch", 1, 8)
    with pytest.raises(ProjectError, match="most"):
        project_from_toml(text.replace("{most}", "1"), "project.toml")
