"""`edgekit tune` that is told to stop, and one whose device dies: one line, and the same command goes on."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuning import Run, Tuning

from edgekit.lab.sshd import running_sshd

pytestmark = pytest.mark.timeout(900)

MEASURING = ("measure:", "install:")
ROUNDS = "SELECT id, body FROM rounds ORDER BY id"


@pytest.fixture
def tuning(tmp_path: Path) -> Iterator[Tuning]:
    """A tuning for a device on which nothing can be removed while there is a file `hold` beside its root."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "rm").write_text(
        f'#!/bin/sh\nwhile [ -e {tmp_path}/hold ]; do : > {tmp_path}/held; sleep 0.05; done\nexec /bin/rm "$@"\n'
    )
    (bin_ / "rm").chmod(0o755)
    with running_sshd(tmp_path / "sshd", path=f"{bin_}:{os.environ['PATH']}") as server:
        yield Tuning(tmp_path, server)


def stopped(tuning: Tuning, run: Run, code: int, said: str) -> None:
    """The run ended with this code and this one line; the old model is active, and what was measured is kept."""
    assert run.end() == code, run.lines
    assert [said in line for line in run.said] == [True], run.said
    assert tuning.active() == tuning.old.id
    assert tuning.ask("SELECT state FROM studies") == [("open",)]
    tuning.wait_until(lambda: not tuning.strays(), "what the run had started works on")


def test_ctrl_c_is_one_line_leaves_nothing_on_the_device_and_the_same_command_goes_on(tuning: Tuning) -> None:
    run = tuning.start()
    assert run.saw(MEASURING, 2)
    run.signal(signal.SIGINT)
    stopped(tuning, run, 130, "edgekit: stopped; the same command resumes")
    assert tuning.left_on_device() == []
    assert list(tuning.scratch.glob("edgekit*")) == []
    rounds = tuning.ask(ROUNDS)
    tuning.finish()
    assert tuning.ask(ROUNDS)[: len(rounds)] == rounds != []
    assert tuning.ask("SELECT state FROM studies") == [("done",)]


def test_a_second_signal_ends_at_once_in_the_middle_of_clearing_up(tuning: Tuning) -> None:
    run = tuning.start()
    assert run.saw(MEASURING, 2)
    (tuning.folder / "hold").touch()
    run.signal(signal.SIGTERM)
    tuning.wait_until((tuning.folder / "held").exists, "nothing is cleared up")
    run.signal(signal.SIGINT)
    assert run.end() == -signal.SIGINT
    assert run.said == []
    (tuning.folder / "hold").unlink()
    assert tuning.active() == tuning.old.id
    tuning.wait_until(lambda: not tuning.strays(), "what the run had started works on")


def test_a_device_that_dies_while_it_measures_is_one_line_and_the_same_command_goes_on_when_it_is_back(
    tuning: Tuning,
) -> None:
    run = tuning.start()
    assert run.saw(MEASURING, 2)
    tuning.server.stop()
    stopped(tuning, run, 4, "edgekit: board: ")
    assert "the same command goes on from there" in run.said[0]
    rounds = tuning.ask(ROUNDS)
    tuning.server.start()
    tuning.finish()
    assert tuning.ask(ROUNDS)[: len(rounds)] == rounds != []
    assert tuning.left_on_device() == []
    assert tuning.active() != tuning.old.id
