"""How a back end is found, and how any number of samples goes through a file of a fixed batch."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TargetError
from edgekit.formats import names
from edgekit.formats.base import get_format, in_batches
from edgekit.formats.names import format_names


def test_a_format_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(TargetError, match=r"no back end for format 'coffee'; there are .*onnx.*tflite"):
        get_format("coffee")


def test_a_name_registered_twice_is_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("chip", f"{package}:FORMAT", names.GROUP) for package in ("ours", "theirs")]
    monkeypatch.setattr(names, "entry_points", lambda group: entries)
    names.format_entries.cache_clear()
    try:
        with pytest.raises(TargetError, match="chip is registered twice: ours:FORMAT and theirs:FORMAT"):
            format_names()
    finally:
        names.format_entries.cache_clear()


@given(count=st.integers(1, 20), batch=st.integers(1, 7))
def test_every_sample_has_its_own_output_whatever_the_batch(count: int, batch: int) -> None:
    sizes = []

    def call(arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        sizes.append([len(a) for a in arrays])
        return [arrays[0] + arrays[1], arrays[1]]

    a, b = np.arange(count), np.arange(count) * 10
    total, second = in_batches(call, (a, b), batch)
    assert np.array_equal(total, a + b)
    assert np.array_equal(second, b)
    assert sizes == [[batch, batch]] * -(-count // batch)
