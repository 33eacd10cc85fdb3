"""Where a target holds int8 with scales of the data and with scales of the moment, the search finds which is better.

Each case is a net on a simulated device, small enough that every form of it can be tried.
"""

from collections import Counter
from dataclasses import replace

import pytest
from simulated import SimulatedDevice, every_point, residual_net, space_of

from edgekit.errors import UsageError
from edgekit.search.hope import whole
from edgekit.search.questions import Compile, Done, Effort, Evaluate, Goal, Measure, Profile
from edgekit.search.search import Search
from edgekit.search.space import LayerSpace, Point, Space, to_recipe

NET = residual_net(blocks=1)
BOTH = ("fp32", "int8", "int8-dynamic")
SPACE = space_of(NET, step=None, precisions=BOTH)


def run(space, device, goal=None, effort=None, seed=0):
    """(the end, every question)."""
    search, asked = Search(space, goal, effort or Effort(pushes=14), seed), []
    while not isinstance(question := search.ask(), Done):
        asked.append(question)
        search.tell(device.answer(question))
    return question, asked


def asked_of(asked, precision):
    """How often each question was asked of forms in a precision."""
    count = Counter()
    for question in asked:
        count[type(question)] += sum(bool(p.int8) and p.precision == precision for p in question.points)
    return count


def best_of_all(space, device):
    """The least true time among all forms that keep the bound."""
    return min(
        device.seconds(p) for p in every_point(space) if device._evaluated(p, "full").quality[0].drop_high <= 0.005
    )


@pytest.mark.parametrize("shows_ops", [True, False])
def test_dynamic_is_chosen_where_static_loses_too_much_and_dynamic_is_faster_than_float(shows_ops):
    device = SimulatedDevice(NET, seed=3, static_loss=30, dynamic_speed={"conv": 2.5}, shows_ops=shows_ops)
    done, _ = run(SPACE, device)
    assert done.choice.precision == "int8-dynamic" and done.choice.int8
    assert device.seconds(done.choice) <= 1.01 * best_of_all(SPACE, device)
    assert {choice.precision for choice in done.explanation.layers} <= {"int8-dynamic", "fp32"}
    assert any("layers int8-dynamic" in words for words in done.explanation.words)
    compared = next(words for words in done.explanation.words if words.startswith("All layers in one precision"))
    assert "int8 takes" in compared and "int8-dynamic takes" in compared


@pytest.mark.parametrize("shows_ops", [True, False])
def test_a_precision_that_is_slower_than_float_costs_one_profile_and_one_score(shows_ops):
    device = SimulatedDevice(NET, seed=3, dynamic_speed={"conv": 0.3}, shows_ops=shows_ops)
    done, asked = run(SPACE, device)
    assert done.choice.precision == "int8" and done.choice.int8
    assert device.seconds(done.choice) <= 1.01 * best_of_all(SPACE, device)
    spent = asked_of(asked, "int8-dynamic")
    assert (spent[Profile], spent[Evaluate], spent[Measure]) == (1, 1, 0)
    assert spent[Compile] <= 1
    assert any(words.startswith("No mixes of int8-dynamic were tried") for words in done.explanation.words)
    assert any(r.what == "int8-dynamic" and r.reason.startswith("slower") for r in done.refusals)


def test_float_is_kept_and_both_are_named_where_neither_helps():
    device = SimulatedDevice(NET, int8_speed=0.5, dynamic_speed={"conv": 0.3})
    done, asked = run(SPACE, device)
    assert done.kept_float
    assert any(words.startswith("All int8 takes") for words in done.explanation.words)
    assert any(words.startswith("All int8-dynamic takes") for words in done.explanation.words)
    assert any("op at fault is Integer-conv" in words for words in done.explanation.words)
    assert asked_of(asked, "int8-dynamic")[Measure] == 0


def test_float_is_kept_by_rounds_and_not_by_lone_times_where_a_precision_is_left_to_some_sorts_of_layers():
    net = tuple(replace(c, sort="linear") if c.name.startswith("s1") or c.name == "head" else c for c in NET)
    space, speeds = space_of(net, step=None, precisions=BOTH), {"conv": 0.3, "linear": 3.0}
    device = SimulatedDevice(net, seed=3, int8_speed=0.4, dynamic_speed=speeds, dynamic_loss=200)
    done, asked = run(space, device)
    assert any("Only mixes of int8-dynamic linear layers" in words for words in done.explanation.words)
    assert done.kept_float
    assert sum(len(question.points) for question in asked if isinstance(question, Measure)) >= 1


def test_static_is_left_at_once_where_dynamic_is_faster_and_loses_less():
    device = SimulatedDevice(NET, seed=3, int8_speed=1.1, static_loss=30, dynamic_speed={"conv": 2.5})
    done, asked = run(SPACE, device)
    assert done.choice.precision == "int8-dynamic"
    spent = asked_of(asked, "int8")
    assert (spent[Profile], spent[Evaluate], spent[Measure]) == (1, 1, 0)
    assert any(words.startswith("No mixes of int8 were tried") for words in done.explanation.words)


def test_only_the_sorts_of_layers_that_are_faster_in_a_precision_are_mixed():
    """Fast matrix products, slow convolutions: all layers in int8-dynamic are slower than float, some are not."""
    net = tuple(replace(c, sort="linear") if c.name.startswith("s1") or c.name == "head" else c for c in NET)
    space = space_of(net, step=None, precisions=BOTH)
    speeds = {"conv": 0.3, "linear": 3.0}
    device = SimulatedDevice(net, seed=3, int8_speed=1.5, static_loss=30, dynamic_speed=speeds)
    done, asked = run(space, device)
    linear = {conv.name for conv in net if conv.sort == "linear"}
    assert done.choice.precision == "int8-dynamic" and set(done.choice.int8) <= linear
    assert device.seconds(done.choice) <= 1.01 * best_of_all(space, device)
    assert device.seconds(whole(space)["int8-dynamic"]) > device.seconds(space.float_form)
    assert any("Only mixes of int8-dynamic linear layers" in words for words in done.explanation.words)
    scored = {p for q in asked if isinstance(q, Evaluate) for p in q.points if p.precision == "int8-dynamic"}
    assert all(set(point.int8) <= linear for point in scored - {whole(space)["int8-dynamic"]})


def test_widths_are_searched_with_the_precision_that_pays():
    net = residual_net(stages=(32,), blocks=1)
    space = space_of(net, precisions=BOTH)
    device = SimulatedDevice(net, seed=1, static_loss=30, dynamic_speed={"conv": 2.5})
    done, _ = run(space, device)
    assert done.choice.precision == "int8-dynamic" and space.pruned(done.choice)
    names = [candidate.name for candidate in done.tried]
    assert "int8-dynamic" in names and "width-0.50-int8-dynamic" in names


def test_the_same_holds_for_the_least_loss_within_a_latency():
    device = SimulatedDevice(NET, seed=7, bound=None, static_loss=3, dynamic_speed={"conv": 2.8})
    limit = 0.6 * device.seconds(SPACE.float_form)
    done, _ = run(SPACE, device, Goal(minimise="loss", max_seconds=limit))
    best = min(device.loss(p, "full") for p in every_point(SPACE) if device.seconds(p) <= 0.99 * limit)
    assert device.seconds(done.choice) <= 1.01 * limit
    assert device.loss(done.choice, "full") <= 1.05 * best


@pytest.mark.parametrize("pushes", [4, 6])
def test_another_precision_is_paid_for_out_of_the_same_effort(pushes):
    device = SimulatedDevice(NET, seed=1, dynamic_speed={"conv": 2.0})
    done, asked = run(SPACE, device, effort=Effort(pushes=pushes))
    on_device = {p for q in asked if isinstance(q, Profile | Measure) for p in q.points}
    assert len(on_device) <= done.pushes <= pushes


def test_a_target_that_holds_dynamic_int8_only_is_searched_in_it():
    space = space_of(NET, step=None, precisions=("fp32", "int8-dynamic"))
    device = SimulatedDevice(NET, seed=3, dynamic_speed={"conv": 2.5})
    done, _ = run(space, device)
    assert done.choice.precision == "int8-dynamic"
    assert device.seconds(done.choice) <= 1.01 * best_of_all(space, device)


def test_points_in_the_old_precision_have_the_digests_that_old_ledgers_know():
    """Digests that edgekit 0.1 wrote, before there was another precision."""
    space = Space(layers=tuple(LayerSpace(name=n, precisions=BOTH) for n in "ab"))
    assert space.point(["a"]).digest == "c85d0ce42ef6ea729050358088bd59797c43cdfe223ebfa3e7cb0399fd077bc9"
    assert space.float_form.digest == "0a4e3a826876a6e88fbf9b68d55152d7e6c9d186fbcf0e7829a3be15abe2afab"
    assert (
        Profile(points=(space.float_form, space.point(["a"]))).digest
        == "82cd2926ee980ceb77567e7b646fd03a7d9ba795ae612384364ba898c674b973"
    )
    assert space.point(["a"], precision="int8-dynamic").digest != space.point(["a"]).digest


def test_equal_choices_are_equal_points_in_any_precision():
    space = Space(layers=(LayerSpace(name="a", precisions=BOTH), LayerSpace(name="b")))
    assert space.point([], precision="int8-dynamic") == space.float_form
    assert space.point(["a"], precision="int8") == space.point(["a"]) == Point(int8=("a",))
    with pytest.raises(UsageError, match="b cannot"):
        space.point(["b"], precision="int8-dynamic")


def test_a_recipe_names_the_precision_of_its_layers():
    space = Space(layers=tuple(LayerSpace(name=n, precisions=BOTH) for n in "ab"))
    (step,) = to_recipe(space, space.point(["b"], precision="int8-dynamic")).step
    assert step.layers == (("b", "int8-dynamic"),)
