import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from disks import fill_up, small_disk

from edgekit.errors import ArtifactError, ConvertError, StoreError, UnreachableError
from edgekit.store.scratch import scratch

HOLDER = """
import time
from edgekit.store.scratch import scratch
with scratch() as folder:
    (folder / "work").write_text("half")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in these tests."""
    (folder := tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_folder_is_gone_when_it_is_left_also_by_an_error(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), scratch() as one, scratch() as other:
        (one / "file").touch()
        assert one != other
        assert one.parent == other.parent == temporary
        raise ZeroDivisionError
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_a_living_ones_is_not(temporary: Path) -> None:
    env = os.environ | {"TMPDIR": str(temporary)}
    killed, living = (
        subprocess.Popen((sys.executable, "-c", HOLDER), env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    try:
        assert killed.stdout is not None and living.stdout is not None
        left, held = (Path(process.stdout.readline().strip()) for process in (killed, living))
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert (left / "work").exists()
        with scratch():
            assert not left.exists()
            assert (held / "work").exists()
    finally:
        for process in (killed, living):
            process.kill()
            process.communicate()


def test_a_folder_of_the_users_with_such_a_name_is_left_alone(temporary: Path) -> None:
    for name in ("edgekit-scratch-mine", "edgekit-main"):
        (temporary / name).mkdir()
        (temporary / name / "thesis.tex").touch()
    with scratch():
        pass
    assert len(list(temporary.glob("*/thesis.tex"))) == 2


@pytest.mark.parametrize("error", [OSError("write failed"), ConvertError("tool: failed"), ArtifactError("crashed")])
def test_what_fails_on_a_full_disk_is_told_as_that(error: Exception, tmp_path: Path, monkeypatch) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        monkeypatch.setattr("tempfile.tempdir", str(disk))
        with pytest.raises(type(error)) as roomy, scratch():
            raise error
        assert roomy.value is error
        with pytest.raises(StoreError, match="set TMPDIR elsewhere"), scratch():
            fill_up(disk)
            raise error
        with pytest.raises(UnreachableError), scratch():
            raise UnreachableError("board: gone")
        (disk / "filler").unlink()
        assert list(disk.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"none: .*set TMPDIR elsewhere"), scratch():
        raise AssertionError("there is no place to begin")
