import msgspec

from edgekit.cli.words import MOST_REFUSALS, comparison_words, measurement_table, profile_lines, study_words
from edgekit.core.measurement import Comparison, Profile, Quality, Ratio
from edgekit.core.recipe import FLOAT
from edgekit.core.trial import Choice, Explanation, Refusal, Study, Trial
from tests.unit.store.nouns import measurement


def comparison(value: float, verdict: str = "faster") -> Comparison:
    ratio = Ratio(value=value, low=value - 0.01, high=value + 0.01, rounds=9)
    return Comparison(
        device="pi5", baseline="f" * 64, candidate="c" * 64, ratio=ratio, clock="wall", wall=ratio, cpu=ratio,
        verdict=verdict,
    )  # fmt: skip


def quality(split: str) -> Quality:
    return Quality(
        metric="accuracy", split=split, value=0.915, reference=0.92, drop=0.005, drop_low=0.001, drop_high=0.009,
        samples=1000,
    )  # fmt: skip


def a_study(**changes: object) -> Study:
    trials = (
        Trial(name="float", recipe=FLOAT, artifact="f" * 64, uniform=True, measurement=measurement()),
        Trial(name="int8", recipe=FLOAT, comparison=comparison(0.7), quality=(quality("validation"),)),
        Trial(name="mixed", recipe=FLOAT, comparison=comparison(0.5), quality=(quality("validation"),)),
        Trial(name="never measured", recipe=FLOAT),
    )
    choice = Choice(
        device="pi5", target="onnx-aarch64", trial="mixed", artifact="c" * 64, kept_float=False,
        test=(quality("test"),), explanation=Explanation(words=("It is fast.",)),
    )  # fmt: skip
    study = Study(
        id="s", project="p", model="m", device="pi5", target="onnx-aarch64", minimise="latency", max_drop=0.01,
        trials=trials, choice=choice, pushes=12,
        refusals=tuple(Refusal(what=f"w{i}", reason="slow") for i in range(20)),
    )  # fmt: skip
    return msgspec.structs.replace(study, **changes)


def test_a_study_shows_measured_forms_fastest_first_and_marks_the_chosen_one() -> None:
    lines = study_words(a_study()).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["*", "int8", "float"]
    assert "mixed" in lines[1]
    assert "0.500 (0.490 to 0.510)" in lines[1]
    assert not any("never measured" in line for line in lines)


def test_a_study_tells_the_choice_its_figures_on_the_test_split_and_its_reasons() -> None:
    text = study_words(a_study())
    assert "Chosen for pi5 (onnx-aarch64): mixed, artifact cccccccccccc" in text
    assert "on the test split: accuracy 0.9150, drop 0.50 points (0.10 to 0.90)" in text
    assert "It is fast." in text
    assert f"and {20 - MOST_REFUSALS} more" in text


def test_keeping_float_is_said_in_these_words() -> None:
    study = a_study()
    kept = msgspec.structs.replace(study.choice, trial="float", kept_float=True)
    assert "keep float" in study_words(msgspec.structs.replace(study, choice=kept))


def test_a_comparison_is_a_sentence_with_its_interval() -> None:
    assert comparison_words(comparison(0.5)).startswith(
        "cccccccccccc is faster than ffffffffffff: 0.500 (0.490 to 0.510)"
    )
    assert "no difference" in comparison_words(comparison(1.0, "no difference"))
    assert "no verdict" in comparison_words(comparison(0.5, "unlike states"))


def test_measurements_are_one_row_each() -> None:
    assert len(measurement_table((measurement(), measurement("b"))).splitlines()) == 3


def test_what_a_program_does_not_tell_is_a_dash_or_not_told() -> None:
    whole = measurement()
    wall = msgspec.structs.replace(whole.wall, p90_s=None, p99_s=None, p95_s=0.003, told="mean")
    partly = msgspec.structs.replace(whole, wall=wall, cpu=None, load_s=None, first_call_s=None, steady=None)
    row = measurement_table((partly,)).splitlines()[1]
    assert "(mean)" in row
    assert row.split("  ").count("-") + row.count(" - ") >= 3
    lines = profile_lines(Profile(measurement=partly))
    assert "cold         load not told, first call not told" in lines
    assert any(line.startswith("warm         mean ") and "p90 and p99 not told" in line for line in lines)
