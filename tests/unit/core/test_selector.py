"""Selectors: what is written is what is asked, and a mistake is told by its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.device import Device
from edgekit.core.selector import Selector, Term, known_of, matches, parse_selector, selector_text
from edgekit.errors import UsageError

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
keys = words | st.sampled_from(["in", "site", "!", "a b"])
terms = st.one_of(
    st.builds(Term, key=keys, holds=st.sampled_from(["there", "absent"])),
    st.builds(Term, key=keys, holds=st.just("in"), values=st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.builds(Term, key=keys, holds=st.just("not in"), values=st.tuples(words)),
)
selectors = st.builds(Selector, terms=st.lists(terms, min_size=1, max_size=4).map(tuple))
known = st.dictionaries(st.sampled_from("abc"), st.lists(st.sampled_from("xyz"), min_size=1, max_size=2).map(tuple))
small = st.sampled_from("abc"), st.sampled_from("xyz")

BOARD = Device(
    name="pi5", host="10.0.0.7", arch="aarch64", soc="bcm2712", firmware="debian-12",
    targets=("onnx-arm64", "tflite-arm64"), labels=(("site", "berlin"), ("soc", "pi5")),
)  # fmt: skip


@given(selectors)
def test_a_selector_that_is_written_down_is_read_back_as_it_was(selector: Selector) -> None:
    assert parse_selector(selector_text(selector)) == selector


@given(st.text(st.sampled_from('ab=!,() "\\in'), max_size=12))
def test_any_text_is_a_selector_or_a_mistake_with_a_place(text: str) -> None:
    try:
        parse_selector(text)
    except UsageError as error:
        assert ": at " in str(error)
        assert ": want " in str(error)


@given(*small, known)
def test_a_term_and_its_opposite_never_agree(key: str, value: str, board: dict[str, tuple[str, ...]]) -> None:
    for one, other in ((f"{key}={value}", f"{key}!={value}"), (key, f"!{key}")):
        assert matches(parse_selector(one), board) != matches(parse_selector(other), board)


@given(*small, known)
def test_a_comma_is_and_and_in_is_or(key: str, value: str, board: dict[str, tuple[str, ...]]) -> None:
    def holds(text: str) -> bool:
        return matches(parse_selector(text), board)

    assert holds(f"{key}={value},a") == (holds(f"{key}={value}") and holds("a"))
    assert holds(f"{key} in (x,{value})") == (holds(f"{key}=x") or holds(f"{key}={value}"))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("site=berlin", True),
        ("site = berlin , soc != pi4", True),
        ("site=berlin,soc=pi4", False),
        ("soc=bcm2712,soc=pi5,arch=aarch64", True),
        ("soc!=bcm2712", False),
        ("name in (pi4, pi5)", True),
        ("target=tflite-arm64", True),
        ("target!=tflite-arm64", False),
        ("firmware", True),
        ("!canary", True),
        ("canary!=yes", True),
        ("transport=ssh,host=10.0.0.7", True),
        ('site="berlin"', True),
        ("user=pi", False),
    ],
)
def test_a_device_is_asked_for_its_labels_and_what_the_inventory_knows(text: str, holds: bool) -> None:
    assert matches(parse_selector(text), known_of(BOARD)) is holds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at 1: want a key, got the end"),
        ("site=berlin,", "at 13: want a key, got the end"),
        ("site=berlin,,soc", "at 13: want a key, got ',soc'"),
        ("site=", "at 6: want a value, got the end"),
        ("site in berlin", "at 9: want '(', got 'berlin'"),
        ("site in (berlin", "at 16: want ')', got the end"),
        ("site in ()", "at 10: want a value, got ')'"),
        ("site berlin", "at 6: want a comma or the end, got 'berlin'"),
        ("!=x", "at 1: want a key, got '!=x'"),
        ('site="berlin', "at 6: want a word, or the end of a quoted one"),
        ("site==x", "at 6: want a value, got '=x'"),
    ],
)
def test_a_mistake_is_told_by_its_place(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selector(text)
    assert words in str(caught.value)
