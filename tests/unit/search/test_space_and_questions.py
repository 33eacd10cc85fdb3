"""The search's nouns: equal choices are equal, what a space does not allow is refused, answers survive a ledger."""

import pytest

from edgekit.core.recipe import Prune, Quantize, Recover
from edgekit.errors import UsageError
from edgekit.search.questions import Evaluate, Failed, Profile, Profiled, answers_from_json, answers_to_json
from edgekit.search.space import GroupSpace, LayerSpace, Point, Space, to_recipe

SPACE = Space(
    layers=(
        LayerSpace(name="a", writes="a"),
        LayerSpace(name="b", reads="a", precisions=("fp32",)),
        LayerSpace(name="c"),
    ),
    groups=(GroupSpace(name="a", widths=(16, 32, 48), full=48),),
    edges=(("a", "b"), ("b", "c")),
)


def test_equal_choices_are_equal_points_whatever_the_order_they_were_named_in():
    assert SPACE.point(["c", "a"], {"a": 48}) == SPACE.point(["a", "c"]) != SPACE.point(["a"])
    assert SPACE.point(["c", "a"]).digest == SPACE.point(["a", "c"]).digest


@pytest.mark.parametrize(
    ("int8", "widths", "named"), [(["b"], {}, "b"), (["x"], {}, "x"), ([], {"a": 17}, "a"), ([], {"z": 1}, "z")]
)
def test_what_the_space_does_not_allow_is_refused_by_name(int8, widths, named):
    with pytest.raises(UsageError, match=named):
        SPACE.point(int8, widths)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": ()},
        {"layers": (LayerSpace(name="a"), LayerSpace(name="a"))},
        {"layers": (LayerSpace(name="a", reads="g"),)},
        {"layers": (LayerSpace(name="a", precisions=("int8",)),)},
        {"layers": (LayerSpace(name="a"),), "groups": (GroupSpace(name="g", widths=(4, 2), full=2),)},
        {"layers": (LayerSpace(name="a"),), "edges": (("a", "b"),)},
    ],
)
def test_a_space_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(UsageError, match="search space"):
        Space(**wrong)


def test_uniform_forms_are_each_share_in_both_precisions_and_each_once():
    names = [name for name, _ in SPACE.uniforms]
    assert names[:2] == ["float", "int8"]
    assert len({point for _, point in SPACE.uniforms}) == len(names)
    widths = {dict(point.widths)["a"] for _, point in SPACE.uniforms}
    assert widths == {16, 32, 48}
    assert all(SPACE.is_uniform(point) for _, point in SPACE.uniforms)
    assert not SPACE.is_uniform(SPACE.point(["a"]))


def test_a_recipe_prunes_recovers_and_quantizes_in_that_order():
    steps = to_recipe(SPACE, SPACE.point(["a"], {"a": 16}), epochs=2.0).step
    assert [type(step) for step in steps] == [Prune, Recover, Quantize]
    assert steps[0].widths == (("a", 16),)
    assert steps[1].epochs == 2.0
    assert to_recipe(SPACE, SPACE.float_form).step == ()


def test_fidelity_changes_only_the_recipes_of_pruned_forms():
    full, narrow = SPACE.point(["a"]), SPACE.point(["a"], {"a": 16})
    assert to_recipe(SPACE, full, "quick") == to_recipe(SPACE, full, "full")
    assert to_recipe(SPACE, narrow, "quick") != to_recipe(SPACE, narrow, "full")


def test_answers_come_back_from_a_ledger_as_they_were():
    answers = (Profiled(point=SPACE.float_form, seconds=0.1), Failed(point=Point(), reason="no"))
    assert answers_from_json(answers_to_json(answers), "ledger") == answers


def test_questions_of_another_kind_or_fidelity_have_another_digest():
    points = (SPACE.float_form,)
    asked = [
        Profile(points=points),
        Evaluate(points=points, fidelity="quick"),
        Evaluate(points=points, fidelity="full"),
    ]
    assert len({question.digest for question in asked}) == 3
    assert Profile(points=points).digest == asked[0].digest
