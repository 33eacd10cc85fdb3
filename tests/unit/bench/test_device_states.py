import msgspec
import pytest

from edgekit.bench.states import alike, left_out, slope_per_minute
from edgekit.core.measurement import Reading, Round


def one(index: int, seconds: float = 1.0, **more: object) -> Round:
    reading = Reading(artifact="a", wall_s=(9.0,), cpu_s=(seconds,), load_s=0.1, first_call_s=0.1, warmup_calls=0)
    return Round(index=index, readings=(reading,), **more)  # type: ignore[arg-type]


def test_rounds_of_one_state_all_count() -> None:
    rounds = [one(i, throttled=False, governor="ondemand") for i in range(4)]
    assert alike(rounds) == tuple(rounds)
    assert left_out(rounds) is None


def test_what_cannot_be_told_of_throttling_is_taken_for_none() -> None:
    assert len(alike([one(0, throttled=None), one(1, throttled=False)])) == 2


def test_the_rounds_of_most_are_kept_in_order() -> None:
    rounds = [one(i, throttled=i in (1, 4)) for i in range(6)]
    assert [r.index for r in alike(rounds)] == [0, 2, 3, 5]
    assert left_out(rounds) == "the device was slowed down against heat or low voltage in 2 of 6 rounds"


def test_of_as_many_the_rounds_without_throttling_are_kept() -> None:
    assert [r.index for r in alike([one(0, throttled=True), one(1, throttled=False)])] == [1]


def test_another_governor_is_another_state() -> None:
    rounds = [one(0, governor="powersave"), one(1, governor="performance"), one(2, governor="performance")]
    assert [r.index for r in alike(rounds)] == [1, 2]
    assert left_out(rounds) == "the device's governor changed between the rounds (performance, powersave)"


def test_of_no_rounds_nothing_is_kept() -> None:
    assert alike([]) == ()


def test_the_slope_is_the_canarys_growth_in_a_minute() -> None:
    rounds = [one(i, 1.01**i, at_s=30.0 * i) for i in range(6)]
    assert slope_per_minute(rounds, "a") == pytest.approx(1.01**2 - 1)


def test_scatter_has_no_slope() -> None:
    rounds = [one(i, t, at_s=30.0 * i) for i, t in enumerate([1.0, 1.2, 0.9, 1.1, 1.0, 1.15])]
    assert slope_per_minute(rounds, "a") is None


@pytest.mark.parametrize("times", [[None] * 6, [0.0, 1.0, 2.0, 0.5, 1.5, 2.5], [0.0, 1.0, 2.0, 3.0]])
def test_without_the_time_or_across_a_restart_or_of_few_rounds_there_is_no_slope(times: list[float | None]) -> None:
    rounds = [msgspec.structs.replace(one(i, 1.01**i), at_s=at_s) for i, at_s in enumerate(times)]
    assert slope_per_minute(rounds, "a") is None
