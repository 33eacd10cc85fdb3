"""Trained weights by key: found again, never half there, forgotten when unused."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import StoreError
from edgekit.store.weights import WeightStore


def test_what_was_kept_is_found_again_by_its_key_alone(tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "weights")
    arrays = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.count": np.array(7)}
    assert store.read("one") is None
    store.keep("one", arrays)
    found = store.read("one")
    assert found is not None
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
    assert store.read("two") is None


def test_a_damaged_file_is_as_good_as_none(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    store.keep("one", {"a": np.zeros(100)})
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    for content in (b"", whole[:200], whole[:-30], b"not an archive"):
        path.write_bytes(content)
        assert store.read("one") is None


def test_what_is_read_stays_and_what_is_not_goes(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    for key in ("used", "unused"):
        store.keep(key, {"a": np.zeros(10)})
        os.utime(tmp_path / f"{key}.npz", (time.time() - 1000, time.time() - 1000))
    assert store.read("used") is not None
    assert store.forget(unused_s=500, dry_run=True) > 0
    assert store.forget(unused_s=500) > 0
    assert store.read("used") is not None
    assert store.read("unused") is None
    assert store.forget(unused_s=500) == 0


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        WeightStore(tmp_path / "file").keep("one", {"a": np.zeros(1)})
