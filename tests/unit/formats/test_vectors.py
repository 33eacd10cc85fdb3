"""What test vectors promise: seeded, of the model's shapes, and of no sample but those that the user named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.model import ModelSpec, TensorSpec
from edgekit.errors import ArtifactError, ProjectError
from edgekit.formats.vectors import COUNT, Vectors, read_vectors, synthetic, vector_inputs, write_vectors
from edgekit.models.data import Samples

SPEC = ModelSpec(
    name="two", digest="",
    inputs=(TensorSpec(name="in_0", shape=(2, 3, 4)), TensorSpec(name="in_1", shape=(2, 5), dtype="int64")),
    outputs=(TensorSpec(name="out_0", shape=(2, 1)),),
)  # fmt: skip


def samples(count: int) -> Samples:
    return Samples((np.ones((count, 3, 4), np.float32), np.ones((count, 5), np.int64)))


def test_noise_has_the_shapes_and_types_of_the_model_and_depends_on_the_seed_alone() -> None:
    one, same, other = (vector_inputs(SPEC, seed=seed) for seed in (1, 1, 2))
    assert [(a.shape, str(a.dtype)) for a in one] == [((16, 3, 4), "float32"), ((16, 5), "int64")]
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


@given(mean=st.floats(-100, 100), spread=st.floats(0.1, 100))
def test_noise_is_scaled_to_the_example_and_repeats_none_of_it(mean: float, spread: float) -> None:
    like = np.random.default_rng(0).normal(mean, spread, (1, 1000)).astype(np.float32)
    made = synthetic(TensorSpec(name="x", shape=(1, 1000)), like, np.random.default_rng(1))
    assert abs(made.mean() - mean) < 0.2 * spread
    assert 0.8 < made.std() / spread < 1.2
    assert not set(made.ravel().tolist()) >= set(like.ravel().tolist())


@given(st.lists(st.integers(0, 50000), min_size=1, max_size=20))
def test_integers_stay_within_those_that_the_example_shows(like: list[int]) -> None:
    made = synthetic(TensorSpec(name="x", shape=(1, 9), dtype="int64"), np.array(like), np.random.default_rng(1))
    assert min(like) <= made.min() <= made.max() <= max(like)


def test_a_constant_example_still_gives_noise() -> None:
    made = synthetic(TensorSpec(name="x", shape=(1, 100)), np.zeros((1, 100)), np.random.default_rng(1))
    assert made.std() > 0.5


@pytest.mark.parametrize(("count", "taken"), [(2, 2), (5, 4), (16, 16), (1000, 2 * COUNT)])
def test_named_samples_are_taken_in_whole_batches(count: int, taken: int) -> None:
    assert {len(a) for a in vector_inputs(SPEC, samples(count))} == {taken}


def test_named_samples_that_do_not_fit_are_refused_in_one_line() -> None:
    with pytest.raises(ProjectError, match="at least 2 samples, the model's batch, got 1"):
        vector_inputs(SPEC, samples(1))
    with pytest.raises(ProjectError, match="want samples of float32 3×4, int64 5, got float32 3×4"):
        vector_inputs(SPEC, Samples(samples(4).inputs[:1]))


def test_vectors_come_back_as_they_were_written_and_equal_ones_are_equal_bytes(tmp_path: Path) -> None:
    outputs = (np.ones((16, 1), np.float32),)
    vectors = Vectors(vector_inputs(SPEC), outputs, (0.25,), quantized=True, rounding=(0.5,), most=(3.0,))
    for name in ("a.npz", "b.npz"):
        write_vectors(tmp_path / name, vectors)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    back = read_vectors(tmp_path / "a.npz")
    assert (back.steps, back.quantized, back.rounding, back.most) == ((0.25,), True, (0.5,), (3.0,))
    for one, other in zip((*vectors.inputs, *vectors.outputs), (*back.inputs, *back.outputs), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_vectors_written_before_the_largest_move_was_measured_are_read(tmp_path: Path) -> None:
    ends = {"in_0": np.ones(2), "out_0": np.ones(2), "step_0": np.asarray(0.1), "rounding_0": np.asarray(0.5)}
    np.savez(tmp_path / "old.npz", **ends)
    assert read_vectors(tmp_path / "old.npz").most == (2.0,)


def test_a_file_that_holds_no_vectors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ArtifactError, match=r"v\.npz: cannot be read"):
        read_vectors(path)
    np.savez(path, in_0=np.ones(3))
    with pytest.raises(ArtifactError, match=r"v\.npz: want in_0.*got in_0"):
        read_vectors(path)


def test_a_pickle_among_vectors_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    np.savez(
        path, in_0=np.array([{"a": 1}], dtype=object), out_0=np.ones(1), step_0=np.zeros(()), rounding_0=np.zeros(())
    )
    with pytest.raises(ArtifactError, match="pickle"):
        read_vectors(path)
