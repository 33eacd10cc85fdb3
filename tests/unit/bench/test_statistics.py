from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.remarks import remarks
from edgekit.bench.statistics import (
    compare,
    enough,
    is_disturbed,
    latency,
    ratio_over_rounds,
    verdict,
)
from edgekit.core.measurement import Ratio, Reading, Round


def reading(name: str, wall: list[float], cpu: list[float] | None = None) -> Reading:
    return Reading(
        artifact=name, wall_s=tuple(wall), cpu_s=tuple(cpu or wall), load_s=0.1, first_call_s=0.01, warmup_calls=10
    )


def simulated(seed: int, n: int, ratio: float, *, noise: float = 0.02, drift: float = 0.0) -> list[Round]:
    """Rounds on a machine whose speed drifts, with a bias for each load: what ratios must survive."""
    draw = np.random.default_rng(seed)
    rounds = []
    for i in range(n):
        speed = 1 + drift * i + 0.1 * draw.standard_normal()
        forms = [("a", 1.0), ("b", ratio)]
        times = {k: speed * t * np.exp(noise * draw.standard_normal()) for k, t in forms}
        rounds.append(Round(index=i, readings=tuple(reading(k, [t, t * 1.01, t * 0.99]) for k, t in times.items())))
    return rounds


def test_the_interval_holds_the_true_ratio_as_often_as_it_says_under_drift() -> None:
    hits = 0
    for seed in range(400):
        found = compare(simulated(seed, 10, 0.8, drift=0.02), "d", "a", "b").ratio
        hits += found.low <= 0.8 <= found.high
    assert 0.92 <= hits / 400 <= 0.98


def test_equal_forms_are_rarely_called_different() -> None:
    alarms = sum(compare(simulated(s, 10, 1.0), "d", "a", "b").verdict != "no difference" for s in range(400))
    assert alarms / 400 <= 0.08


def test_a_difference_above_the_noise_is_seen() -> None:
    assert compare(simulated(1, 12, 0.8), "d", "a", "b").verdict == "faster"
    assert compare(simulated(1, 12, 1.3), "d", "a", "b").verdict == "slower"


def test_disturbed_rounds_are_judged_on_the_cpu_clock() -> None:
    rounds = [
        Round(index=i, readings=(reading("a", [1.0] * 3, [0.9] * 3), reading("b", [2.0 + i] * 3, [0.45] * 3)))
        for i in range(4)
    ]
    assert is_disturbed(rounds, ("a", "b"), 1)
    found = compare(rounds, "d", "a", "b")
    assert found.clock == "cpu"
    assert found.ratio.value == pytest.approx(0.5)
    assert not is_disturbed(rounds, ("a", "b"), 2)


def test_measuring_goes_on_until_the_interval_is_narrow() -> None:
    rounds = simulated(3, 40, 0.7)
    assert not enough(rounds[:3], "a", ["b"], 0.01, 1)
    assert enough(rounds, "a", ["b"], 0.02, 1)


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=30), st.integers(1, 5))
def test_percentiles_are_in_order_and_the_least_is_least(times: list[float], loads: int) -> None:
    rounds = [Round(index=i, readings=(reading("a", times),)) for i in range(loads)]
    found = latency(rounds, "a", "wall")
    assert found.p50_s <= found.p90_s <= found.p99_s
    assert found.low_s <= found.high_s
    assert found.calls == loads * len(times)
    assert (found.p90_within_s is None) == (loads == 1)


def test_the_bounds_of_a_tail_hold_it_though_calls_of_one_load_are_alike() -> None:
    draw, held = np.random.default_rng(5), 0
    for _ in range(60):
        rounds = [
            Round(index=i, readings=(reading("a", list(np.exp(draw.normal(0, 0.1) + draw.normal(0, 0.1, 40)))),))
            for i in range(20)
        ]
        bounds = latency(rounds, "a", "wall").p90_within_s
        assert bounds is not None
        held += bounds[0] <= np.exp(1.2816 * 0.02**0.5) <= bounds[1]
    assert held >= 48


def test_one_round_has_an_interval_without_bounds() -> None:
    found = ratio_over_rounds([1.0], [2.0])
    assert (found.low, found.high) == (0.0, float("inf"))
    assert verdict(found) == "no difference"


def test_a_ratio_whose_interval_holds_one_is_no_difference() -> None:
    assert verdict(Ratio(value=0.99, low=0.97, high=1.01, rounds=10)) == "no difference"


def machine(seed: int, ratio: float) -> Iterator[Round]:
    """Rounds without end on a busy machine: it drifts, slows for a while, and one load in ten is up to 10 % high."""
    draw = np.random.default_rng(seed)
    load = 0.0
    index = 0
    while True:
        load = 0.7 * load + 0.05 * draw.standard_normal()
        readings = []
        for name, base in (("a", 1.0), ("b", ratio)):
            unlucky = 0.1 * draw.random() if draw.random() < 0.1 else 0.0
            seconds = base * (1 + 0.003 * index) * np.exp(load + unlucky + 0.015 * draw.standard_normal())
            readings.append(reading(name, [seconds * np.exp(0.02 * z) for z in draw.standard_normal(9)]))
        yield Round(index=index, readings=tuple(readings))
        index += 1


def measured(seed: int, ratio: float) -> Ratio:
    """The ratio of a comparison that stops by the rule."""
    found: list[Round] = []
    for one in machine(seed, ratio):
        found.append(one)
        if len(found) >= 30 or (len(found) >= 10 and enough(found, "a", ["b"], 0.02, 1)):
            return compare(found, "d", "a", "b").ratio
    raise AssertionError


def test_stopping_when_it_is_narrow_enough_leaves_the_interval_true() -> None:
    """Coverage 93 to 97 % is the goal; 600 runs tell it to within 1.8 points, twice over."""
    ratios = [measured(seed, 0.7) for seed in range(600)]
    hits = sum(r.low <= 0.7 <= r.high for r in ratios)
    assert 0.925 <= hits / 600 <= 0.98
    assert len({r.rounds for r in ratios}) > 3, "it stops at different rounds"


def test_a_form_compared_with_itself_is_rarely_called_different_however_often_it_is_looked_at() -> None:
    alarms = sum(verdict(measured(seed, 1.0)) != "no difference" for seed in range(1000, 1600))
    assert alarms / 600 <= 0.07


def test_a_lone_time_would_be_wrong_where_the_ratio_is_right() -> None:
    """Without pairing, the same rounds give an interval several times as wide."""
    rounds = [one for one, _ in zip(machine(5, 0.7), range(20), strict=False)]
    paired = compare(rounds, "d", "a", "b").ratio
    alone = latency(rounds, "a", "wall")
    assert (paired.high - paired.low) / paired.value < 0.5 * (alone.high_s - alone.low_s) / alone.p50_s


def told(name: str, figure: float, p95: float | None = None, cpu: tuple[float, ...] = ()) -> Reading:
    """What a vendor's program tells of one load."""
    return Reading(artifact=name, wall_s=(figure,), cpu_s=cpu, told="median", calls=50, p95_s=p95, steady=None)


def test_loads_that_tell_one_figure_each_have_an_interval_over_the_loads_and_no_tail_but_the_one_told() -> None:
    figures = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.98, 1.0]
    rounds = [Round(index=i, readings=(told("a", f, 2 * f),)) for i, f in enumerate(figures)]
    found = latency(rounds, "a", "wall")
    assert (found.calls, found.loads, found.told) == (400, 8, "median")
    assert (found.p50_s, found.least_s, found.p95_s) == (1.0, 0.9, 2.0)
    assert (found.p90_s, found.p99_s, found.p90_within_s) == (None, None, None)
    assert found.low_s < found.p50_s < found.high_s
    rounds[3] = Round(index=3, readings=(told("a", 1.05),))
    assert latency(rounds, "a", "wall").p95_s is None, "one load that does not tell it is none for all"


def test_where_one_of_two_tells_no_cpu_time_the_wall_clock_judges_whatever_disturbed_the_other() -> None:
    rounds = [
        Round(index=i, readings=(reading("a", [2.0 + 0.01 * i] * 3, [1.0] * 3), told("b", 1.0 + 0.005 * i)))
        for i in range(8)
    ]
    assert is_disturbed(rounds, ("a", "b"), 1)
    found = compare(rounds, "d", "a", "b")
    assert (found.clock, found.cpu, found.verdict) == ("wall", None, "faster")
    assert found.judged == found.wall
    assert enough(rounds, "a", ["b"], 0.01, 1)
    assert any("tells no CPU time" in remark for remark in remarks(rounds, "a", "b"))
