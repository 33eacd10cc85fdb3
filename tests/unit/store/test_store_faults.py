"""What a full disk and a killed process leave of the store and the ledger."""

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disks import small_disk

from edgekit.errors import StoreError
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger
from tests.unit.store.nouns import a_round, make_artifact


@contextmanager
def file_limit(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond that size."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def fill(ledger: Ledger, most: int = 400) -> int:
    """Writes until the ledger refuses; how many were kept. Raises: StoreError at the first that was not."""
    for index in range(most):
        body = random.Random(index).randbytes(8000)
        try:
            ledger.remember("s", f"q{index}", "measure", body)
        except StoreError as error:
            assert "\n" not in str(error)
            assert "nothing was lost" in str(error)
            return index
    raise AssertionError("the disk never became full")


def is_as_written(ledger: Ledger, count: int) -> None:
    assert ledger.check() == ()
    for index in range(count):
        assert ledger.answer("s", f"q{index}") == random.Random(index).randbytes(8000)
    assert ledger.answer("s", f"q{count}") is None


def test_a_full_disk_is_one_line_and_leaves_a_sound_ledger_that_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        with Ledger(disk / "ledger.db") as ledger:
            (disk / "other").write_bytes(bytes(300_000))
            kept = fill(ledger)
            assert kept > 5
            is_as_written(ledger, kept)
            (disk / "other").unlink()
            ledger.add_run("key", "run", [a_round()])
        with Ledger(disk / "ledger.db") as again:
            is_as_written(again, kept)
            assert again.rounds("key") == (a_round(),)


def test_a_disk_that_is_full_before_there_is_a_ledger_is_one_line(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        with pytest.raises(OSError, match="No space"):
            (disk / "other").write_bytes(bytes(100_000))
        with pytest.raises(StoreError) as error:
            Ledger(disk / "ledger.db")
        assert "\n" not in str(error.value)


def test_a_limit_on_file_sizes_is_one_line_and_leaves_a_sound_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.db") as ledger:
        with file_limit(200_000):
            kept = fill(ledger)
        is_as_written(ledger, kept)
    with Ledger(tmp_path / "ledger.db") as again:
        is_as_written(again, kept)


def test_a_full_disk_leaves_the_store_without_the_new_artifact_and_without_leftovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        store = ArtifactStore(disk / "store")
        small = make_artifact(tmp_path / "small")
        make_artifact(tmp_path / "large", os.urandom(2_000_000), key="k2")
        store.add(tmp_path / "small")
        with pytest.raises(StoreError, match=r"No space left.*make room"):
            store.add(tmp_path / "large")
        assert store.artifacts() == (small,)
        assert store.made("k2") is None
        assert list((store.root / "incoming").iterdir()) == []
        assert store.damaged() == ()


WRITER = """
    import sys
    from pathlib import Path
    from edgekit.store.artifacts import ArtifactStore
    from edgekit.store.ledger import Ledger
    from tests.unit.store.nouns import a_round, make_artifact

    root, name = Path(sys.argv[1]), sys.argv[2]
    store = ArtifactStore(root / "store")
    with Ledger(root / "ledger.db") as ledger:
        for index in range(10_000):
            ledger.add_run("key", name, [a_round(2 * index), a_round(2 * index + 1)])
            made = make_artifact(root / f"{name}-{index}", f"{name} {index}".encode() * 2000, key=f"{name}-{index}")
            store.add(root / f"{name}-{index}")
            ledger.remember("s", f"{name}-{index}", "build", made.id.encode())
            print(index, flush=True)
"""


def test_a_process_killed_at_any_moment_loses_nothing_that_it_said_was_kept(tmp_path: Path) -> None:
    chance = random.Random(5)
    for attempt in range(8):
        name = f"child{attempt}"
        child = subprocess.Popen(
            (sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), name), stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        try:
            said = int(child.stdout.readline())
            time.sleep(chance.uniform(0, 0.15))
        finally:
            child.kill()
        said = max(
            [said, *(int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n"))]
        )
        child.wait()
        store = ArtifactStore(tmp_path / "store")
        with Ledger(tmp_path / "ledger.db") as ledger:
            assert ledger.check() == ()
            rounds = [r.index for r in ledger.rounds("key", name)]
            assert rounds == list(range(len(rounds)))
            assert len(rounds) % 2 == 0, "a run of two rounds is kept whole or not at all"
            assert len(rounds) >= 2 * (said + 1)
            for index in range(said + 1):
                kept = ledger.answer("s", f"{name}-{index}")
                assert kept is not None
                assert store.made(f"{name}-{index}") == store.find(kept.decode())
        assert store.damaged() == ()
    leftovers = len(list((tmp_path / "store" / "incoming").iterdir()))
    assert store.gc({a.id for a in store.artifacts()}, min_age_s=0).leftovers >= leftovers
    assert list((tmp_path / "store" / "incoming").iterdir()) == []


def test_a_ledger_that_is_being_made_by_another_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite lets nobody wait behind this who wants the file in WAL mode
    timer = threading.Timer(0.3, other.execute, ("COMMIT",))
    timer.start()
    with Ledger(tmp_path / "ledger.db") as ledger:
        ledger.add_run("key", "run", [a_round()])
        assert ledger.check() == ()
    timer.join()
    other.close()
