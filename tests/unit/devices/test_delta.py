"""What changed between two files, and that the device makes the new one of it: for any two files."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.devices.delta import BLOCK_BYTES, write_blocks, write_patch
from edgekit.devices.scripts import on_device


def apply(folder: Path, base: Path, patch: bytes) -> bytes:
    (folder / "patch").write_bytes(patch)
    (folder / "patch.py").write_bytes(on_device("patch.py"))
    words = [sys.executable, str(folder / "patch.py"), str(base), str(folder / "patch"), str(folder / "made")]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    made = (folder / "made").read_bytes()
    assert told == hashlib.sha256(made).hexdigest() + "\n"
    return made


@st.composite
def edits(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file of a few blocks, and what some cuts, insertions and small changes made of it."""
    old = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 256, draw(st.integers(0, 300_000)), np.uint8)
    new = old.copy()
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(new) - 1)))
        size = draw(st.sampled_from([1, 700, BLOCK_BYTES, 100_000]))
        match draw(st.sampled_from(["cut", "insert", "change"])):
            case "cut":
                new = np.delete(new, slice(at, at + size))
            case "insert":
                new = np.insert(new, at, np.zeros(size, np.uint8)) if len(new) else np.zeros(size, np.uint8)
            case "change":
                new[at : at + size] += 1
    return old.tobytes(), new.tobytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=edits())
def test_a_patch_makes_the_new_file_of_the_old_one(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(pair[0])
    new.write_bytes(pair[1])
    if write_patch(new, old, patch := io.BytesIO()):
        assert apply(tmp_path, old, patch.getvalue()) == pair[1]
        assert len(patch.getvalue()) <= len(pair[1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=edits())
def test_a_recipe_names_the_blocks_of_the_new_file_in_order(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(pair[0])
    new.write_bytes(pair[1])
    recipe = write_blocks(new, old, sent := io.BytesIO())
    if recipe is None:
        return
    made = b""
    for line in recipe.decode().splitlines():
        source, first, count = line.split()
        data = pair[0] if source == "base" else sent.getvalue()
        made += data[int(first) * BLOCK_BYTES : (int(first) + int(count)) * BLOCK_BYTES]
    assert made == pair[1]


def test_what_changed_in_between_is_all_that_a_patch_holds_of_the_file(tmp_path: Path) -> None:
    old = os.urandom(10 * BLOCK_BYTES)
    new = old[:100_000] + os.urandom(70_000) + old[170_000:]
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    assert write_patch(tmp_path / "new", tmp_path / "old", patch := io.BytesIO())
    assert 70_000 <= len(patch.getvalue()) < 70_200
    assert apply(tmp_path, tmp_path / "old", patch.getvalue()) == new


@pytest.mark.parametrize("missing", ["copy_file_range", ""])
def test_a_device_copies_what_stayed_by_itself_or_by_its_system(tmp_path: Path, missing: str) -> None:
    old, head = os.urandom(20 << 20), os.urandom(12)
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(head + old[12:])
    patch = io.BytesIO()
    assert write_patch(tmp_path / "new", tmp_path / "old", patch)
    code = on_device("patch.py").decode().replace("copy_file_range", "no_such_call" if missing else "copy_file_range")
    (tmp_path / "patch").write_bytes(patch.getvalue())
    words = [sys.executable, "-c", code, "old", "patch", "made"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "made").read_bytes() == head + old[12:]


def test_files_that_have_nothing_in_common_are_not_worth_a_patch(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(os.urandom(1 << 20))
    assert not write_patch(tmp_path / "new", tmp_path / "old", patch := io.BytesIO())
    assert patch.getvalue() == b""
    assert write_blocks(tmp_path / "new", tmp_path / "old", io.BytesIO()) is None


def test_a_patch_that_was_cut_or_changed_makes_no_file_and_no_traceback(tmp_path: Path) -> None:
    old = os.urandom(300_000)
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(old[:100_000] + bytes(b + 1 & 255 for b in old[100_000:]))
    patch = io.BytesIO()
    assert write_patch(tmp_path / "new", tmp_path / "old", patch)
    whole = patch.getvalue()
    (tmp_path / "patch.py").write_bytes(on_device("patch.py"))
    for broken in (whole[:-5], whole[:10], b"X" + whole[1:], bytes(64)):
        (tmp_path / "patch").write_bytes(broken)
        words = [sys.executable, "patch.py", "old", "patch", "made"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "patch" in done.stderr


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES])
def test_an_empty_or_tiny_file_is_no_trouble(tmp_path: Path, size: int) -> None:
    (tmp_path / "old").write_bytes(bytes(size))
    (tmp_path / "new").write_bytes(bytes(size))
    if write_patch(tmp_path / "new", tmp_path / "old", patch := io.BytesIO()):
        assert apply(tmp_path, tmp_path / "old", patch.getvalue()) == bytes(size)
