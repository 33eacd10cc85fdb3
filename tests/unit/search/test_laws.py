"""Laws of the small parts: fronts, additive prices, the posterior, the map of accuracy, the design."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import SimulatedDevice, residual_net, space_of

from edgekit.core.measurement import Quality
from edgekit.core.price import OpPrice, OpSignature
from edgekit.search.accuracy import Scored, excess, fit_accuracy, fit_recovery
from edgekit.search.correct import Observed, Posterior, Prices
from edgekit.search.design import design, mixes
from edgekit.search.pareto import dominates, front
from edgekit.search.price import Fit, cells_of
from edgekit.search.questions import Compile, Compiled
from edgekit.search.space import Point

NET = residual_net()
SPACE = space_of(NET)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_nothing_on_the_front_is_dominated_and_all_else_is(figures):
    chosen = front(figures)
    for i in range(len(figures)):
        if i in chosen:
            assert not any(dominates(other, figures[i]) for other in figures)
        else:
            assert any(dominates(figures[j], figures[i]) or figures[j] == figures[i] for j in chosen)


def test_the_design_shows_every_layer_every_pair_of_widths_and_repeats_itself():
    forms = design([SPACE], 3, 40)
    assert forms == design([SPACE], 3, 40) != design([SPACE], 4, 40)
    assert len(set(forms)) == len(forms)
    shown = {(name, read, written) for form in forms for name, _, read, written in cells_of(SPACE, form)[0]}
    widths = {group.name: group.widths for group in SPACE.groups}
    for layer in SPACE.layers:
        for read in widths.get(layer.reads or "", (0,)):
            for written in widths.get(layer.writes or "", (0,)):
                if layer.reads != layer.writes or read == written:
                    assert (layer.name, read, written) in shown


def test_a_table_fitted_to_compiled_forms_prices_unseen_ones_within_two_percent():
    device = SimulatedDevice(NET)
    random = np.random.default_rng(9)

    def priced(points):
        return [sum(op.seconds for op in answer.ops) for answer in device.answer(Compile(points=tuple(points)))]

    seen = design([SPACE], 0, 40)
    unseen = [
        SPACE.point(int8, {g.name: int(random.choice(g.widths)) for g in SPACE.groups})
        for int8 in mixes(SPACE, random, 60)
    ]
    fit = Fit(SPACE, seen, priced(seen))
    predicted, sd = fit.predict(unseen)
    error = predicted / np.array(priced(unseen)) - 1
    assert np.median(np.abs(error)) < 0.02
    assert np.mean(np.abs(predicted - priced(unseen)) < 3 * sd) > 0.8
    tabled = [fit.table.price(SPACE, point) for point in unseen]
    assert np.median(np.abs(tabled / predicted - 1)) < 0.02


def _forms():
    conv = OpSignature(kind="Conv", inputs=(("float", (1, 16, 8, 8)),))
    other = OpSignature(kind="QConv", inputs=(("uint8", (1, 16, 8, 8)),))
    prices = {
        conv: OpPrice(signature=conv, seconds=1e-3, low_s=1e-3, high_s=1e-3, source="trace"),
        other: OpPrice(signature=other, seconds=5e-4, low_s=5e-4, high_s=5e-4, source="farm"),
    }
    points = [Point(), Point(int8=("a",)), Point(int8=("a", "b"))]
    ops = [(conv, conv), (other, conv), (other, other)]
    return points, [
        Compiled(point=point, ops=tuple(prices[op] for op in used)) for point, used in zip(points, ops, strict=True)
    ]


def test_one_measured_form_corrects_the_others_that_share_its_ops_and_narrows_them():
    space = space_of(NET, step=None)
    points, forms = _forms()
    points = [space.float_form, space.point(["stem"]), space.point(["stem", "head"])]
    forms = [Compiled(point=p, ops=form.ops) for p, form in zip(points, forms, strict=True)]
    float_seen = Observed(points[0], 1.0, 0.001)
    before, wide = Posterior(space, Prices(forms), [float_seen]).predict(points)
    after, narrow = Posterior(space, Prices(forms), [float_seen, Observed(points[1], 0.9, 0.005)]).predict(points)
    assert before[1] == pytest.approx(0.75, abs=0.02)
    assert before[2] == pytest.approx(0.5, abs=0.02)
    assert after[1] == pytest.approx(0.9, abs=0.01)
    assert after[2] > before[2] + 0.15
    assert narrow[2] < wide[2]
    assert after[0] == pytest.approx(1.0, abs=0.01)


def test_an_op_without_a_price_costs_what_its_kind_costs_and_is_not_trusted():
    space = space_of(NET, step=None)
    _, (first, _, _) = _forms()
    strange = OpSignature(kind="Conv", inputs=(("float", (1, 99, 8, 8)),))
    points = [space.float_form, space.point(["stem"])]
    forms = [
        Compiled(point=points[0], ops=first.ops),
        Compiled(point=points[1], ops=first.ops[:1], unpriced=(strange,)),
    ]
    mean, sd = Posterior(space, Prices(forms), [Observed(points[0], 1.0, 0.001)]).predict(points)
    assert mean[1] == pytest.approx(1.0, abs=0.05)
    assert sd[1] > 0.3


def _quality(drop_high: float, bound: float | None) -> Quality:
    return Quality(
        metric="m", split="validation", value=0.9, reference=0.9, drop=0.0, drop_low=0.0, drop_high=drop_high,
        samples=100, bound=bound,
    )  # fmt: skip


def test_a_form_is_judged_by_its_worst_figure_at_the_upper_limit():
    assert excess([_quality(0.01, 0.02), _quality(0.05, 0.01)]) == pytest.approx(0.04)
    assert excess([_quality(0.5, None)]) is None


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(-0.1, 0.1)), min_size=1, max_size=12))
def test_the_chance_of_keeping_a_bound_never_rises_with_loss(rows):
    accuracy = fit_accuracy([Scored(int8, widths, over) for int8, widths, over in rows])
    chances = [accuracy.chance(loss, 0.0) for loss in np.linspace(0, 2, 20)]
    assert all(a >= b - 1e-12 for a, b in pairwise(chances))


def test_what_fine_tuning_wins_back_is_learnt_from_the_shapes_that_were_tuned():
    tuned = [((("g", w),), before, 0.05 * before**1.2) for w, before in ((8, 0.1), (16, 0.4), (24, 1.5))]
    recovery = fit_recovery(tuned)
    assert recovery.at((("g", 8),), 0.1) == (pytest.approx(0.05 * 0.1**1.2), 0.0)
    loss, sd = recovery.at((("g", 12),), 0.8)
    assert loss == pytest.approx(0.05 * 0.8**1.2, rel=0.2)
    assert sd > 0
    assert recovery.before(loss) == pytest.approx(0.8)
