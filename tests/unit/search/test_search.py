"""The search finds on a simulated device what is there to be found, says so when nothing is, and can be replayed."""

import pytest
from msgspec import structs
from simulated import Conv, SimulatedDevice, every_point, residual_net, space_of

from edgekit.errors import MeasureError, UsageError
from edgekit.search.questions import (
    Compile,
    Done,
    Effort,
    Evaluate,
    Failed,
    Goal,
    Measure,
    Profile,
    Profiled,
    answers_from_json,
    answers_to_json,
)
from edgekit.search.search import Search

NET = residual_net()
SPACE = space_of(NET)
SMALL = residual_net(stages=(32,), blocks=2)
SMALL_SPACE = space_of(SMALL)


def run(space, device, goal=None, effort=None, seed=0):
    """(the end, every question with its answers)."""
    search, told = Search(space, goal, effort, seed), []
    while not isinstance(question := search.ask(), Done):
        told.append((question, device.answer(question)))
        search.tell(told[-1][1])
    return question, told


def best_of_all(space, device):
    """The least true time among all points that keep the bound when deployed."""
    found = []
    for point in every_point(space):
        quality = device._evaluated(point, "full").quality[0]
        if quality.drop_high <= quality.bound:
            found.append(device.seconds(point))
    return min(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_choice_is_near_the_best_of_the_whole_space(seed):
    device = SimulatedDevice(SMALL, seed=seed)
    done, _ = run(SMALL_SPACE, device, seed=seed)
    assert device.seconds(done.choice) <= 1.06 * best_of_all(SMALL_SPACE, device)


@pytest.mark.parametrize("shows_ops", [True, False])
def test_the_choice_keeps_the_bound_and_beats_every_uniform_form_that_does(shows_ops):
    device = SimulatedDevice(NET, seed=3, shows_ops=shows_ops)
    done, told = run(SPACE, device)
    by_point = {candidate.point: candidate for candidate in done.tried}
    choice = by_point[done.choice]
    assert not done.kept_float
    assert choice.quality[0].drop_high <= choice.quality[0].bound
    assert choice.comparison.verdict == "faster" and choice.comparison.ratio.high < 1
    for name, uniform in SPACE.uniforms:
        assert by_point[uniform].quality, f"{name} was not scored"
        assert name == "float" or by_point[uniform].comparison, f"{name} was not measured"
        if by_point[uniform].quality[0].drop_high <= by_point[uniform].quality[0].bound:
            assert device.seconds(done.choice) < device.seconds(uniform)
    duels = [q for q, _ in told if isinstance(q, Measure) and q.baseline != SPACE.float_form]
    assert all(question.baseline == done.choice for question in duels)
    if not shows_ops:
        assert any("shows no ops" in word for word in done.explanation.words)


def test_float_is_kept_with_the_op_at_fault_where_int8_does_not_pay():
    device = SimulatedDevice(residual_net(), int8_speed=0.5)
    space = space_of(NET, step=None)
    done, _ = run(space, device)
    assert done.kept_float and done.choice == space.float_form
    assert done.explanation.words[0].startswith("Keep float")
    assert any("op at fault is QConv" in word for word in done.explanation.words)
    assert all(c.comparison.verdict == "slower" for c in done.tried if c.comparison and len(c.point.int8) > 6)


def test_the_same_answers_give_the_same_questions_and_the_same_end():
    device = SimulatedDevice(SMALL, seed=5)
    done, told = run(SMALL_SPACE, device, seed=2)
    again = Search(SMALL_SPACE, seed=2)
    for question, answers in told:
        assert again.ask() == question and again.ask().digest == question.digest
        again.tell(answers_from_json(answers_to_json(answers), "ledger"))
    assert again.ask() == done


@pytest.mark.parametrize("pushes", [4, 8, 15])
def test_no_more_is_put_on_the_device_than_the_effort_allows(pushes):
    done, told = run(SPACE, SimulatedDevice(NET, seed=1), effort=Effort(pushes=pushes, shapes=12, tunings=3))
    on_device = {p for q, _ in told if isinstance(q, Profile | Measure) for p in q.points}
    assert len(on_device) <= done.pushes <= pushes
    shapes = {p.widths for q, _ in told if isinstance(q, Compile) for p in q.points if SPACE.pruned(p)}
    tuned = {p.widths for q, _ in told if isinstance(q, Evaluate) and q.fidelity == "full" for p in q.points}
    assert len({w for w in tuned if w != SPACE.float_form.widths}) <= 3
    assert len(shapes) <= 12


def test_forms_that_cannot_be_run_are_refused_with_the_reason_and_the_search_goes_on():
    device = SimulatedDevice(NET, seed=3, refuses=frozenset({"stem"}))
    done, _ = run(SPACE, device)
    assert "stem" not in done.choice.int8
    assert not done.kept_float
    assert any("no int8 kernel for stem" in refusal.reason for refusal in done.refusals)


def test_a_float_form_that_cannot_run_ends_the_search_with_its_reason():
    search = Search(SPACE)
    answers = [Failed(point=point, reason="out of memory") for point in search.ask().points]
    with pytest.raises(MeasureError, match="out of memory"):
        search.tell(answers)


def test_answers_that_do_not_fit_the_question_are_refused():
    search, device = Search(SPACE), SimulatedDevice(NET)
    answers = device.answer(search.ask())
    with pytest.raises(UsageError, match="do not fit"):
        search.tell(answers[1:])
    with pytest.raises(UsageError, match="no answer"):
        search.tell([device.answer(Compile(points=(a.point,)))[0] for a in answers])
    search.tell(answers)


def test_a_search_that_is_stopped_chooses_among_what_it_knows():
    device, search = SimulatedDevice(NET, seed=3), Search(SPACE)
    search.stop("nothing yet")
    assert search.ask().kept_float
    search = Search(SPACE)
    while not isinstance(search.ask(), Measure):
        search.tell(device.answer(search.ask()))
    search.tell(device.answer(search.ask()))
    search.stop("the minutes are spent")
    done = search.ask()
    assert any("the minutes are spent" in word for word in done.explanation.words)
    assert done.kept_float or done.choice in {candidate.point for candidate in done.tried if candidate.comparison}


def test_least_loss_within_a_latency_is_found_with_few_pushes():
    space = space_of(NET, step=None)
    device = SimulatedDevice(NET, seed=7, bound=None)
    fast, slow = device.seconds(space.point(space.int8_layers)), device.seconds(space.float_form)
    limit = fast + 0.4 * (slow - fast)
    done, _ = run(space, device, Goal(minimise="loss", max_seconds=limit), Effort(pushes=15))
    best = min(device.loss(p, "full") for p in every_point(space) if device.seconds(p) <= 0.99 * limit)
    assert device.seconds(done.choice) <= 1.01 * limit
    assert device.loss(done.choice, "full") <= 1.05 * best
    assert done.pushes <= 15


def test_the_smallest_file_that_keeps_the_accuracy_is_found_and_is_not_slower_than_float():
    device = SimulatedDevice(SMALL, seed=2)
    done, _ = run(SMALL_SPACE, device, Goal(minimise="size"))
    assert device.size(done.choice) < device.size(SMALL_SPACE.float_form)
    assert device.seconds(done.choice) < device.seconds(SMALL_SPACE.float_form)
    feasible = [
        device.size(p) for p in every_point(SMALL_SPACE)
        if device.seconds(p) < device.seconds(SMALL_SPACE.float_form)
        and device._evaluated(p, "full").quality[0].drop_high <= 0.005
    ]  # fmt: skip
    assert device.size(done.choice) <= 1.1 * min(feasible)


def test_the_least_memory_is_found_by_measuring_where_compiling_does_not_show_it():
    device = SimulatedDevice(SMALL, seed=2)
    done, _ = run(SMALL_SPACE, device, Goal(minimise="memory"))
    assert not done.kept_float
    feasible = [
        device.memory(p) for p in every_point(SMALL_SPACE)
        if device.seconds(p) < device.seconds(SMALL_SPACE.float_form)
        and device._evaluated(p, "full").quality[0].drop_high <= 0.005
    ]  # fmt: skip
    assert device.memory(done.choice) <= 1.1 * min(feasible)


@pytest.mark.parametrize(("pushes", "proven"), [(40, True), (12, False)])
def test_where_no_mix_is_better_than_a_uniform_form_thirty_are_measured_or_all_pushes_are_spent(pushes, proven):
    space = space_of(NET, step=None)
    done, told = run(space, SimulatedDevice(NET, bound=None), effort=Effort(pushes=pushes))
    assert space.is_uniform(done.choice) and not done.kept_float
    measured = {point for q, _ in told if isinstance(q, Measure) for point in q.points}
    assert (len(measured) >= 30) == proven
    assert proven or done.pushes == pushes


def test_every_layers_choice_is_explained_in_seconds_and_loss():
    done, _ = run(SMALL_SPACE, SimulatedDevice(SMALL, seed=1))
    layers = {choice.layer: choice for choice in done.explanation.layers}
    assert list(layers) == [layer.name for layer in SMALL_SPACE.layers]
    for name, choice in layers.items():
        assert choice.precision == ("int8" if name in done.choice.int8 else "fp32")
        assert choice.saved_s is not None and choice.loss is not None
        assert "priced" in choice.reason
    saved = sum(choice.saved_s for choice in layers.values())
    device = SimulatedDevice(SMALL, seed=1)
    truly = device.seconds(SMALL_SPACE.float_form) - device.seconds(done.choice)
    assert saved == pytest.approx(truly, rel=0.15)


def test_each_measured_form_has_the_time_that_was_predicted_before_it_was_measured():
    done, _ = run(SPACE, SimulatedDevice(NET, seed=3))
    measured = [c for c in done.tried if c.measurement is not None]
    assert len(measured) >= 8
    errors = sorted(abs(c.predicted_s / c.measurement.wall.least_s - 1) for c in measured)
    assert errors[len(errors) // 2] < 0.04


class LateFloat(SimulatedDevice):
    """A device that was busy while the float form was profiled."""

    def answer(self, question):
        return tuple(
            structs.replace(a, seconds=1.1 * a.seconds)
            if isinstance(a, Profiled) and a.point == SMALL_SPACE.float_form
            else a
            for a in super().answer(question)
        )


def test_a_float_form_that_was_profiled_late_does_not_tighten_a_limit():
    """Limits are in seconds and times are shares of float's: the comparisons say what float takes."""
    calm, late = SimulatedDevice(SMALL, seed=1, bound=None), LateFloat(SMALL, seed=1, bound=None)
    float_s, int8_s = (calm.seconds(SMALL_SPACE.point(names)) for names in ((), SMALL_SPACE.int8_layers))
    goal = Goal(minimise="loss", max_seconds=0.3 * int8_s + 0.7 * float_s)
    search = Search(SMALL_SPACE, goal, Effort(pushes=15), 0)
    while not isinstance(question := search.ask(), Done):
        search.tell(late.answer(question))
    assert search.record.float_s == pytest.approx(float_s, rel=0.03)
    wanted, _ = run(SMALL_SPACE, calm, goal, Effort(pushes=15))
    assert calm.loss(question.choice, "full") <= 1.3 * calm.loss(wanted.choice, "full")


def test_a_form_far_below_a_limit_is_found_where_none_lies_nearer():
    """Two layers take nearly all the time: in int8 they are far below the limit, one of them is far above it."""
    heavy, others = ["heavy0", "heavy1"], ["stem", "wide", *(f"narrow{i}" for i in range(8))]
    net, last, channels = [], None, 3
    for name in (*others[:2], *heavy, *others[2:]):
        out = 256 if name in ("wide", *heavy) else 16
        net.append(Conv(name, last, name, channels, out, 32 if out == 256 else 4, last))
        last, channels = name, out
    space, device = space_of(tuple(net), step=None), SimulatedDevice(tuple(net), bound=None)
    limit = 0.52 * device.seconds(space.float_form)
    done, _ = run(space, device, Goal(minimise="loss", max_seconds=limit), Effort(pushes=12, compiles=30))
    assert device.seconds(space.point(heavy)) < 0.85 * limit
    assert device.seconds(space.point(heavy[1:])) > 1.2 * limit
    assert done.choice == space.point(heavy)
