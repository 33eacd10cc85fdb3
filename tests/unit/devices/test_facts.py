"""Facts: what machines print, read; and whatever else they may print."""

import tomllib
from inspect import signature
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.device import Facts
from edgekit.devices import parsers
from edgekit.devices.facts import facts_of, sections
from edgekit.devices.questions import QUESTIONS
from edgekit.errors import DeviceError

GOLDEN = Path(__file__).parents[2] / "golden" / "facts"


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.toml")), ids=lambda path: path.stem)
def test_a_machines_words_give_its_facts(path: Path) -> None:
    golden = tomllib.loads(path.read_text())
    assert facts_of(golden["told"], "board") == msgspec.convert(golden["facts"], type=Facts)


def test_there_is_a_captured_golden_file_for_every_question() -> None:
    told = tomllib.loads((GOLDEN / "captured_debian_12_x86_64.toml").read_text())["told"]
    assert set(told) == {question.name for question in QUESTIONS} | {"df", "python"}


def test_a_machine_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(DeviceError, match="not a system that edgekit knows"):
        facts_of({"uname": ""}, "router")


PARSERS = [getattr(parsers, name) for name in parsers.__all__]
WORDS = sorted({word for path in GOLDEN.glob("*.toml") for word in path.read_text().split()})


@given(st.data())
@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_no_output_of_a_device_breaks_a_parser(parse, data: st.DataObject) -> None:
    """Neither noise nor the tools' own words in another order."""
    noise = st.text() | st.binary().map(lambda raw: raw.decode(errors="replace"))
    likely = st.lists(st.sampled_from(WORDS) | st.sampled_from(["\n", " ", "=", ":", "9" * 5000])).map("".join)
    parse(*(data.draw(noise | likely) for _ in signature(parse).parameters))


@given(text=st.text())
def test_hostile_answers_give_facts_or_one_error(text: str) -> None:
    names = [question.name for question in QUESTIONS] + ["df", "python"]
    try:
        facts = facts_of(dict.fromkeys(names, text), "board")
    except DeviceError:
        return
    assert facts.cores >= 1


def test_deeply_nested_json_is_no_python() -> None:
    assert parsers.parse_python("@python " + "[" * 100_000).version is None


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda n: n != "end"), st.text()))
def test_outputs_in_one_stream_come_apart_as_they_went_in(parts: dict[str, str]) -> None:
    mark = "0123456789abcdef"
    text = "a greeting\n" + "".join(f"\n{mark} {name}\n{body}" for name, body in parts.items()) + f"\n{mark} end\n"
    assert sections(text, mark) == parts
