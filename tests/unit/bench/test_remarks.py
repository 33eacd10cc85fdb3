from edgekit.bench.remarks import remarks
from edgekit.core.measurement import Reading, Round


def rounds(wall: list[float], cpu: list[float] | None = None, *, steady: bool = True, **more: object) -> list[Round]:
    made = []
    for i, (w, c) in enumerate(zip(wall, cpu or wall, strict=True)):
        readings = tuple(
            Reading(artifact=name, wall_s=(w,), cpu_s=(c,), load_s=0.1, first_call_s=0.1, warmup_calls=0, steady=flat)
            for name, flat in (("a", steady), ("b", True))
        )
        made.append(Round(index=i, readings=readings, at_s=3.0 * i, **more))  # type: ignore[arg-type]
    return made


def test_a_quiet_device_leaves_nothing_to_say() -> None:
    assert remarks(rounds([1.0, 1.01, 0.99, 1.0, 1.0, 1.01], temperature_c=40.0), "a", "b") == ()


def test_a_baseline_that_slows_steadily_is_said_with_its_slope() -> None:
    found = remarks(rounds([1.0, 1.01, 1.02, 1.03, 1.04, 1.05]), "a", "b")
    assert found == ("the baseline became 21.5% a minute slower",)


def test_other_programs_throttling_and_unsteady_forms_are_said() -> None:
    found = remarks(rounds([2.0] * 5, [1.0] * 5, steady=False, throttled=True), "a", "b")
    assert len(found) == 3
    assert "other programs" in found[0]
    assert found[1] == "the device was slowed down against heat or low voltage in all rounds"
    assert found[2] == "the baseline found no steady state in 5 of 5 loads"


def test_rounds_of_another_state_are_said_to_be_left_out() -> None:
    mixed = [*rounds([1.0] * 6), *rounds([2.0] * 2, throttled=True)]
    assert remarks(mixed, "a", "b") == (
        "the device was slowed down against heat or low voltage in 2 of 8 rounds: 6 rounds of one state count",
    )
