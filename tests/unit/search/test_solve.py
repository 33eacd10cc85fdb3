"""The program's answer is the best there is: compared with trying every point of small spaces."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import every_point

from edgekit.search.pareto import front
from edgekit.search.price import Table, all_cells, all_joints
from edgekit.search.sequence import fronts
from edgekit.search.solve import Fixed, Limit, Program
from edgekit.search.space import GroupSpace, LayerSpace, Space

SPACES = (
    Space(layers=tuple(LayerSpace(name=n) for n in "abcde"), edges=(("a", "b"), ("b", "c"), ("a", "c"), ("c", "e"))),
    Space(
        layers=(
            LayerSpace(name="a", writes="g"),
            LayerSpace(name="b", reads="g", writes="g"),
            LayerSpace(name="c", reads="g", writes="h"),
            LayerSpace(name="d", reads="h", precisions=("fp32",)),
        ),
        groups=(GroupSpace(name="g", widths=(8, 16), full=16), GroupSpace(name="h", widths=(4, 8, 12), full=12)),
        edges=(("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")),
    ),
)


def random_table(space: Space, random: np.random.Generator) -> Table:
    return Table(
        constant=float(random.normal()),
        unary={cell: float(random.normal()) for layer in space.layers for cell in all_cells(space, layer)},
        pair={joint: float(random.normal()) for joint in all_joints(space)},
        width={(g.name, w): float(random.normal()) for g in space.groups for w in g.widths},
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SPACES), st.floats(0.05, 0.95))
def test_the_solvers_point_is_as_good_as_the_best_of_all_points(seed, space, quantile):
    random = np.random.default_rng(seed)
    goal, bounded = random_table(space, random), random_table(space, random)
    points = list(every_point(space))
    limit = float(np.quantile([bounded.price(space, point) for point in points], quantile))
    best = min((goal.price(space, p) for p in points if bounded.price(space, p) <= limit - 1e-6), default=math.inf)
    found = Program(space).solve(goal, [Limit(bounded, limit)], gap=0.0)
    assert found is not None
    assert bounded.price(space, found) <= limit + 1e-5
    assert goal.price(space, found) <= best + 1e-5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_points_come_best_first_and_none_twice_when_each_is_cut_off(seed):
    space = SPACES[0]
    goal = random_table(space, np.random.default_rng(seed))
    program, found = Program(space), []
    for _ in range(8):
        found.append(program.solve(goal, exclude=found, gap=0.0))
    prices = [goal.price(space, point) for point in found]
    every = sorted(goal.price(space, point) for point in every_point(space))
    assert np.allclose(prices, every[:8], atol=1e-5)
    assert len(set(found)) == 8


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_fixed_shape_gives_the_best_point_of_that_shape(seed):
    space = SPACES[1]
    random = np.random.default_rng(seed)
    goal, shape = random_table(space, random), space.point((), {"g": 8, "h": 12}).widths
    found = Fixed(space, shape).solve(goal, gap=0.0)
    best = min(goal.price(space, p) for p in every_point(space) if p.widths == shape)
    assert found is not None and found.widths == shape
    assert abs(goal.price(space, found) - best) < 1e-5


def test_no_point_is_told_apart_from_a_bad_one():
    space = SPACES[0]
    table = Table(unary={(n, "int8", 0, 0): 1.0 for n in "abcde"})
    assert Program(space).solve(table, [Limit(table, -1.0)]) is None
    shape = SPACES[1].float_form.widths
    assert Program(SPACES[1]).solve(Table(), shapes=[shape]).widths != shape


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SPACES))
def test_the_mixes_of_a_shape_are_exactly_those_that_no_other_beats_in_time_and_loss(seed, space):
    random = np.random.default_rng(seed)
    time, loss = random_table(space, random), Table(unary={
        cell: float(random.random()) for layer in space.layers for cell in all_cells(space, layer) if cell[1] == "int8"
    })  # fmt: skip
    shape = space.at_share(0.5).widths
    points = [point for point in every_point(space) if point.widths == shape]
    figures = [(round(time.price(space, p), 9), round(loss.price(space, p), 9)) for p in points]
    most = float(np.median([lost for _, lost in figures]))
    best = {figures[i] for i in front(figures) if figures[i][1] <= most}
    found = fronts(space, shape, time, loss, most)
    assert {(round(time.price(space, p), 9), round(loss.price(space, p), 9)) for p in found} == best
    assert len(found) == len(best)


def test_a_net_whose_layers_wait_for_too_many_others_is_left_to_the_program():
    names = [f"l{i}" for i in range(12)]
    space = Space(layers=tuple(LayerSpace(name=n) for n in names), edges=tuple((n, names[-1]) for n in names[:-1]))
    assert fronts(space, (), Table(), Table(), 1.0) is None
