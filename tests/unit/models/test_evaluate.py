"""Metrics beside the float model's: the paired interval, as published and by simulation, and users' functions."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nets import net, noise
from torch import Tensor, nn

from edgekit.core.project import Bound, MetricSource
from edgekit.errors import EdgekitError, MetricError, ModelError, ProjectError
from edgekit.models.data import Samples
from edgekit.models.evaluate import load_metric, loss, paired_interval, score
from edgekit.models.model import capture
from edgekit.models.predict import check_deterministic, predict
from edgekit.models.program import export


def pairs(both: int, only_theirs: int, only_ours: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    theirs = np.repeat([True, True, False, False], [both, only_theirs, only_ours, neither])
    ours = np.repeat([True, False, True, False], [both, only_theirs, only_ours, neither])
    return ours, theirs


def test_the_interval_is_the_published_one() -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 2635, table III, method 10: 36, 12, 2, 0."""
    assert paired_interval(*pairs(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=1e-4)


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(lambda n: sum(n) > 0))
@example((0, 0, 48, 0))
def test_the_interval_holds_the_difference_mirrors_and_stays_within_bounds(counts: tuple[int, int, int, int]) -> None:
    ours, theirs = pairs(*counts)
    low, high = paired_interval(ours, theirs)
    assert -1 <= low <= theirs.mean() - ours.mean() <= high <= 1
    assert high > low
    mirrored = paired_interval(theirs, ours)
    assert mirrored == pytest.approx((-high, -low))


@pytest.mark.parametrize(("count", "shares"), [(50, (0.9, 0.06, 0.02, 0.02)), (400, (0.93, 0.02, 0.01, 0.04))])
def test_the_interval_covers_the_true_difference_at_least_nineteen_times_of_twenty_or_nearly(
    count: int, shares: tuple[float, ...]
) -> None:
    generator, truth = np.random.default_rng(0), shares[1] - shares[2]
    covered = 0
    for _ in range(1000):
        low, high = paired_interval(*pairs(*generator.multinomial(count, shares)))
        covered += low <= truth <= high
    assert covered >= 935


def scores(classes: list[int]) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[classes]


def test_accuracy_is_compared_sample_by_sample() -> None:
    labels = np.array([0, 1, 2, 3, 0])
    (q,) = score(MetricSource(), "validation", scores([0, 1, 2, 0, 0]), scores([0, 1, 2, 3, 1]), labels)
    assert (q.metric, q.split, q.samples, q.bound) == ("accuracy", "validation", 5, 0.01)
    assert (q.value, q.reference, q.drop) == pytest.approx((0.8, 0.8, 0.0))
    assert q.drop_low < 0 < q.drop_high


def test_agreement_needs_no_labels_and_its_reference_is_one() -> None:
    metric = MetricSource(name="agreement", max_drop="2%")
    (q,) = score(metric, "test", scores([0, 1, 2, 0]), scores([0, 1, 2, 3]), None)
    assert (q.value, q.reference, q.drop, q.bound) == pytest.approx((0.75, 1.0, 0.25, 0.02))


def test_equal_outputs_still_have_an_upper_limit_that_shrinks_with_samples() -> None:
    limits = []
    for count in (10, 100, 1000):
        outputs = scores([1] * count)
        limits.append(score(MetricSource(name="agreement"), "test", outputs, outputs, None)[0].drop_high)
    assert limits[0] > limits[1] > limits[2] > 0
    assert limits[2] == pytest.approx(0.0038, abs=2e-4)


def test_one_score_a_sample_is_a_class_by_its_sign() -> None:
    outputs, reference = np.array([[1.0], [-1.0]]), np.array([[2.0], [3.0]])
    (q,) = score(MetricSource(), "test", outputs, reference, np.array([1, 0]))
    assert (q.value, q.reference) == (1.0, 0.5)


METRIC = """
import numpy as np
calls = []
def one(outputs, labels): return np.float32((outputs.argmax(1) == labels).mean())
def several(outputs, labels):
    right = outputs.argmax(1) == labels
    return {"all": right.mean(), "worst": min(right[labels == c].mean() for c in np.unique(labels))}
def rare(outputs, labels): return (outputs.argmax(1) == labels)[labels == 3].mean()
def nan(outputs, labels): return float("nan")
def text(outputs, labels): return "good"
def nothing(outputs, labels): return {}
def drifting(outputs, labels):
    calls.append(1)
    return float(len(calls))
def breaks(outputs, labels): return outputs[99999]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "metric.py").write_text(METRIC)
    return tmp_path


LABELS = np.arange(200) % 4
RIGHT, SOME_WRONG = scores(list(LABELS)), scores([*((LABELS[:20] + 1) % 4), *LABELS[20:]])


def users(name: str, root: Path, **more: object) -> tuple[float | None, ...]:
    metric = MetricSource(name=f"metric.py:{name}", **more)  # type: ignore[arg-type]
    return score(metric, "validation", SOME_WRONG, RIGHT, LABELS, load_metric(metric, root))  # type: ignore[return-value]


def test_a_users_figure_has_a_paired_interval_that_agrees_with_the_score_interval(root: Path) -> None:
    (q,) = users("one", root, max_drop=0.2)
    assert (q.metric, q.value, q.reference, q.bound) == ("one", pytest.approx(0.9), 1.0, 0.2)
    low, high = paired_interval(SOME_WRONG.argmax(1) == LABELS, RIGHT.argmax(1) == LABELS)
    assert (q.drop_low, q.drop_high) == pytest.approx((low, high), abs=0.015)
    assert users("one", root, max_drop=0.2) == (q,)


def test_several_figures_each_have_their_bound(root: Path) -> None:
    found = {q.metric: q for q in users("several", root, bound=(Bound(figure="worst", max_drop="5%"),))}
    assert found["worst"].bound == 0.05 and found["all"].bound is None
    assert found["worst"].drop_low <= found["worst"].drop <= found["worst"].drop_high
    assert {q.bound for q in users("several", root, max_drop=0.02)} == {0.02}


def test_a_figure_that_some_resamples_cannot_give_has_an_interval_over_the_others(root: Path) -> None:
    labels = np.where(np.arange(200) < 2, 3, 0)
    metric = MetricSource(name="metric.py:rare")
    (q,) = score(metric, "test", scores([3, *[0] * 199]), scores([3, 3, *[0] * 198]), labels, load_metric(metric, root))
    assert q.drop == 0.5 and 0 <= q.drop_low <= q.drop_high <= 1


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nan", MetricError, "want finite numbers"),
        ("text", MetricError, "want a number or a dict of numbers, got str"),
        ("nothing", MetricError, "want finite numbers"),
        ("drifting", MetricError, "is not deterministic: it gave"),
        ("breaks", ProjectError, r"metric metric.py:breaks: metric.py:15: IndexError"),
        ("missing", ProjectError, "metric.name: .*has no function 'missing'"),
    ],
)
def test_a_users_metric_that_gives_no_figure_is_told_in_one_line(
    root: Path, name: str, error: type[EdgekitError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        users(name, root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outputs", "labels", "words"),
    [
        (np.full((4, 2), np.nan), np.zeros(4, int), "NaN or infinite outputs"),
        (np.zeros((0, 2)), np.zeros(0, int), "no samples"),
        (np.zeros((4, 2)), np.zeros(3, int), "4 outputs and 3 labels"),
        (np.zeros((4, 2)), np.zeros((4, 1), int), r"got labels of shape \(4, 1\)"),
        (np.zeros((4, 2)), None, "has no labels; without labels use metric agreement"),
    ],
)
def test_outputs_and_labels_that_make_no_figure_are_told(
    outputs: np.ndarray, labels: np.ndarray | None, words: str
) -> None:
    with pytest.raises(MetricError, match=words):
        score(MetricSource(), "validation", outputs, outputs, labels)


def test_a_bound_for_a_figure_that_is_not_given_is_told(root: Path) -> None:
    with pytest.raises(ProjectError, match=r"gives no figure \['best'\], it gives \['all', 'worst'\]"):
        users("several", root, bound=(Bound(figure="best", max_drop=0.1),))


@settings(max_examples=20)
@given(st.floats(0.0, 3.0))
def test_loss_is_zero_for_equal_outputs_and_grows_with_the_square_of_the_error(scale: float) -> None:
    reference = np.random.default_rng(0).standard_normal((50, 10))
    noisy = reference + scale * np.random.default_rng(1).standard_normal((50, 10))
    assert loss(reference, reference) == 0
    assert loss(noisy, reference) == pytest.approx(scale**2, rel=0.2)


def test_predicting_gives_every_sample_whatever_the_batch_model_or_program() -> None:
    model, samples = net("residual"), noise(7)
    wanted = predict(model, samples)
    assert wanted.shape == (7, 10)
    assert np.allclose(predict(model, samples, 4), wanted, atol=1e-5)
    assert np.allclose(predict(export(model), samples), wanted, atol=1e-5)


def test_a_program_for_a_batch_of_four_predicts_seven_samples() -> None:
    model = net("mobile")
    four = capture(model.module, (torch.randn(4, 1, 16, 16),), "four")
    assert np.allclose(predict(export(four), noise(7)), predict(model, noise(7)), atol=1e-5)


def test_samples_of_another_shape_are_told_with_what_was_wanted_and_got() -> None:
    with pytest.raises(ModelError, match=r"input in_0: want samples of shape \(1, 16, 16\), got \(1, 8, 8\)"):
        predict(net("mobile"), noise(4, size=8))
    with pytest.raises(ModelError, match="takes 1 inputs, the samples have 2"):
        predict(net("mobile"), Samples((noise(4).inputs[0], noise(4).inputs[0])))


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def test_a_model_that_answers_twice_differently_is_told() -> None:
    check_deterministic(net("mobile"), noise(4))
    with pytest.raises(MetricError, match=r"model random is not deterministic: sample \d, run twice, differs by"):
        check_deterministic(capture(Random(), (torch.randn(1, 4),), "random"), Samples((np.zeros((3, 4), np.float32),)))
