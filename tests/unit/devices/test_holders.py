"""Who holds a device: what was written down comes back, and what a device makes up is refused."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.devices.holders import MOST_LETTERS, Holder, holder, holder_words, worded
from edgekit.errors import DeviceError

NOON = datetime(2026, 11, 24, 12, 0)


@given(who=st.text(max_size=300), reason=st.text(max_size=300))
def test_any_name_and_reason_is_one_plain_word_there_and_fit_for_a_terminal_here(who: str, reason: str) -> None:
    entry = f"7,ab,{worded(who)},99,{worded(reason)},100,60,100,60,-"
    assert entry.isascii()
    assert not set(entry) & set(" *?[]'\"\\$`;|&<>()#\n")
    found = holder(entry, "100", "pi")
    assert found is not None
    for text in (found.who, found.reason):
        assert text.isprintable()
        assert len(text) <= MOST_LETTERS


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "x",
        "1,2,3",
        "x,ab,w,1,r,1,1,1,1,-",
        "-1,ab,w,1,r,1,1,1,1,-",
        "1,ab,w,1,r,1,1,1,1,-,more",
        "1,ab,w,1,r," + "9" * 5000 + ",1,1,1,-",
        "\x1b[2J" * 9999,
    ],
)
def test_what_edgekit_never_wrote_is_refused_in_one_bounded_line(entry: str) -> None:
    with pytest.raises(DeviceError, match="never wrote") as caught:
        holder(entry, "100", "pi")
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("number", ["9" * 10, "0"])
def test_any_time_that_a_device_tells_can_be_shown(number: str) -> None:
    found = holder(f"1,ab,w,1,r,{number},60,{number},{number},-", "5", "pi")
    assert found is not None
    assert "held by w" in holder_words(found, NOON)


def test_a_lock_is_told_as_one_and_a_lease_with_what_runs() -> None:
    lock = Holder(who="ann@laptop", reason="flash", token=1, id="ab", lock=True, age_s=60, left_s=1740)
    assert holder_words(lock, NOON) == "locked by ann@laptop (flash) since 11:59:00, until 12:29:00"
    runs = Holder(who="ann@laptop", reason="tune net", pid=7, token=1, id="ab", age_s=0, left_s=90, running=True)
    assert holder_words(runs, NOON).endswith("(tune net, process 7) since 12:00:00, until 12:01:30 at the latest")


def test_what_began_on_another_day_is_told_with_the_day() -> None:
    old = Holder(who="a@b", token=1, id="ab", age_s=86400, left_s=9)
    assert "since 2026-11-23 12:00, until 12:00:09 unless renewed" in holder_words(old, NOON)
