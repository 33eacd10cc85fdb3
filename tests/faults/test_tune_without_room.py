"""`edgekit tune` when the disk of the host, or that of the device, is full: one line, and with room it goes on."""

from pathlib import Path

import pytest
from disks import fill_up, small_disk
from tuning import Tuning

from edgekit.lab.sshd import Sshd
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger

pytestmark = pytest.mark.timeout(900)

ROUNDS = "SELECT id, body FROM rounds ORDER BY id"


@pytest.mark.slow
def test_a_full_disk_of_the_host_leaves_a_sound_ledger_and_with_room_the_same_command_finishes(
    own_sshd: Sshd, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        tuning = Tuning(tmp_path, own_sshd, home=disk)
        run = tuning.start()
        assert run.saw(("measure:", "install:"), 2)
        filler = fill_up(disk)
        assert run.end() == 10, run.lines
        [line] = run.said
        assert "make room, nothing was lost" in line
        assert "the same command goes on from there" in line
        assert tuning.active() == tuning.old.id
        assert tuning.left_on_device() == []
        filler.unlink()
        with Ledger(disk / "ledger.db") as ledger:
            assert ledger.check() == ()
        rounds = tuning.ask(ROUNDS)
        tuning.finish()
        assert tuning.ask(ROUNDS)[: len(rounds)] == rounds != []
        assert ArtifactStore(disk / "artifacts").damaged() == ()


def test_a_full_disk_of_the_device_leaves_the_old_model_and_with_room_the_same_command_finishes(
    own_sshd: Sshd, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        tuning = Tuning(tmp_path, own_sshd, root=disk / "root")
        run = tuning.start()
        assert run.saw(("evaluate:",))
        filler = fill_up(disk)
        assert run.end() == 8, run.lines
        [line] = run.said
        assert "edgekit: board: " in line
        assert "the same command goes on from there" in line
        assert tuning.active() == tuning.old.id
        assert tuning.left_on_device() == []
        filler.unlink()
        tuning.finish()
        assert tuning.active() != tuning.old.id
        assert tuning.left_on_device() == []
