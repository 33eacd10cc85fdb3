import base64
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench import lines
from edgekit.errors import MeasureError


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Traceback (most recent call last):",
        b'{"vectors": [null]}',
        b'{"memory": "much"}',
        b'{"round": {"index": 0, "readings": [{"artifact": "a", "wall_s": []}]}}',
        b'{"compiled": {"id": "a", "graph": "", "nodes": [{"name": "n", "us": -1}]}}',
        b"\xff\xfe",
        b'{"surprise": 1}',
    ],
)
def test_a_line_that_does_not_fit_is_refused_with_what_was_said(raw: bytes) -> None:
    with pytest.raises(MeasureError, match="pi5: the agent said"):
        lines.decode(raw, "pi5")


def test_what_a_device_says_cannot_steer_the_terminal() -> None:
    with pytest.raises(MeasureError) as caught:
        lines.decode(b"\x1b]0;owned\x07\x1b[2J", "pi5")
    assert "\x1b" not in str(caught.value)


@given(st.binary(max_size=500))
def test_bytes_survive_the_way_in_a_line(data: bytes) -> None:
    assert lines.unpacked(lines.packed(data), "pi5") == data


@pytest.mark.parametrize("text", ["!", "AAAA", lines.packed(bytes(range(200)))[:40]])
def test_a_graph_that_cannot_be_unpacked_is_refused(text: str) -> None:
    with pytest.raises(MeasureError, match="pi5"):
        lines.unpacked(text, "pi5")


def test_a_graph_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "GRAPH_LIMIT_BYTES", 1000)
    bomb = base64.b64encode(zlib.compress(b"\0" * 10_000)).decode()
    with pytest.raises(MeasureError, match="above 1000 bytes"):
        lines.unpacked(bomb, "pi5")
