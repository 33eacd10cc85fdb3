"""Numbers narrower than a byte, as weight files pack them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.formats.mil.values import unpacked


@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.lists(st.integers(0, 255), min_size=1, max_size=40))
def test_what_is_packed_from_the_lowest_bit_on_is_unpacked(bits: int, values: list[int]) -> None:
    numbers = [value % (1 << bits) for value in values]
    whole = sum(number << (bits * i) for i, number in enumerate(numbers))
    data = np.frombuffer(whole.to_bytes((bits * len(numbers) + 7) // 8, "little"), np.uint8)
    assert unpacked(data, bits, len(numbers)).tolist() == numbers
