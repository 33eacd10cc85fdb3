"""What is left to send of a file, whatever has arrived of it."""

import hashlib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.devices.pieces import WIDE_BYTES, Load, pieces_of

SIZE = WIDE_BYTES + 12_345
CONTENT = bytes(range(251)) * (SIZE // 251 + 1)


def load(folder: Path) -> Load:
    path = folder / "file"
    if not path.exists():
        path.write_bytes(CONTENT[:SIZE])
    return Load(path, "a" * 64, SIZE)


def told(start: int, size: int, *, sound: bool) -> str:
    part = CONTENT[:SIZE][start : start + size]
    digest = hashlib.sha256(part if sound else part + b"?").hexdigest()
    return f"{len(part)} {digest} {'a' * 64}-{start:015d}"


places = st.integers(0, SIZE - 1)
parts = st.lists(st.tuples(places, st.integers(0, SIZE), st.booleans()), max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=parts, count=st.integers(1, 4))
def test_the_pieces_cover_the_file_once_and_only_what_is_sound_is_kept(
    tmp_path: Path, parts: list[tuple[int, int, bool]], count: int
) -> None:
    lines = [told(start, size, sound=sound) for start, size, sound in parts]
    pieces = pieces_of([load(tmp_path)], ["nonsense", *lines], count)
    place = 0
    for piece in pieces:
        assert piece.start == place
        assert 0 <= piece.there <= piece.size > 0
        place += piece.size
        if piece.there:
            assert any(start == piece.start and sound for start, _, sound in parts)
    assert place == SIZE
    assert len({piece.name for piece in pieces}) == len(pieces)


def test_what_arrived_whole_is_not_sent_again_and_the_rest_is_shared_out(tmp_path: Path) -> None:
    pieces = pieces_of([load(tmp_path)], [told(0, 1_000_000, sound=True)], 4)
    assert pieces[0].there == 1_000_000
    assert sum(piece.size - piece.there for piece in pieces) == SIZE - 1_000_000
    assert len([piece for piece in pieces if piece.there < piece.size]) == 4


def test_of_another_file_nothing_is_taken(tmp_path: Path) -> None:
    line = told(0, 1000, sound=True).replace("a" * 64, "b" * 64)
    assert [piece.there for piece in pieces_of([load(tmp_path)], [line], 1)] == [0]
