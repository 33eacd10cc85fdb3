"""kill -9 of `edgekit tune` at any moment: the same command finishes, and nothing that was finished is run again."""

import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tuning import Tuning

from edgekit.lab.sshd import running_sshd
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.ledger import Ledger

pytestmark = pytest.mark.timeout(900)  # five runs of the command each, beside other work

STAGES = ("device:", "profile:", "evaluate:", "compile:", "measure:", "test:", "install:")
"""The beginnings of the lines that show where a run is, in their order."""

ROUNDS = "SELECT id, key, run, body FROM rounds ORDER BY id"
ANSWERS = "SELECT study, question, body FROM answers ORDER BY study, question"


def moments(seed: int, count: int) -> Iterator[tuple[int, int, float]]:
    """Where to kill: in which stage or a later one, how many lines into it, how many seconds behind the last of these.

    The last is in the middle of installing.
    """
    chance = random.Random(seed)
    for place in sorted(chance.sample(range(len(STAGES) - 1), count - 1)):
        yield place, chance.randrange(12), chance.uniform(0.0, 0.3)
    yield len(STAGES) - 1, 0, chance.uniform(0.0, 0.2)


@pytest.fixture
def tuning(tmp_path: Path) -> Iterator[Tuning]:
    """A tuning for a device whose disk takes its time, so that there is time to be killed while it installs."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "sync").write_text("#!/bin/sh\nsleep 0.02\n")
    (bin_ / "sync").chmod(0o755)
    with running_sshd(tmp_path / "sshd", path=f"{bin_}:{os.environ['PATH']}") as server:
        yield Tuning(tmp_path, server)


def kill_once(tuning: Tuning, stage: int, more: int, wait_s: float) -> bool:
    """Starts the command and kills it in that moment; whether it had not ended by then.

    Then: no process works on, the model on the device is whole and old or new, and the ledger is sound.
    """
    run = tuning.start()
    assert run.saw(STAGES[stage:], more)
    time.sleep(wait_s)
    run.signal(signal.SIGKILL)
    code = run.end()
    assert code in (0, -signal.SIGKILL), run.lines
    tuning.wait_until(lambda: not tuning.strays(), "what the killed process had started works on")
    assert tuning.active() == tuning.old.id or run.saw(("install:",))
    with Ledger(tuning.home / "ledger.db") as ledger:
        assert ledger.check() == ()
    return code != 0


def finished_comparisons(tuning: Tuning) -> tuple[set[object], set[frozenset[str]]]:
    """The questions whose comparison is in the ledger, and the forms that each compared."""
    questions = {row[0] for row in tuning.ask("SELECT question FROM answers WHERE kind = 'measure'")}
    with Ledger(tuning.home / "ledger.db") as ledger:
        rounds = [ledger.rounds(str(question))[0] for question in questions]
    return questions, {frozenset(reading.artifact for reading in one.readings) for one in rounds}


def kill_and_go_on(tuning: Tuning, when: Sequence[tuple[int, int, float]]) -> int:
    """Kills the command in these moments, one after the other, and lets it finish; how many moments came."""
    came = 0
    for moment in when:
        kept, answers, jobs = tuning.ask(ROUNDS), tuning.ask(ANSWERS), len(tuning.jobs())
        finished, compared = finished_comparisons(tuning) if answers else (set(), set())
        came += kill_once(tuning, *moment)
        goes_on_from(tuning, kept, answers, finished)
        assert not compared & {forms for job, forms in tuning.jobs()[jobs:] if job == "rounds"}
    return came


def goes_on_from(
    tuning: Tuning, rounds: list[tuple[object, ...]], answers: list[tuple[object, ...]], finished: set[object]
) -> None:
    """What was kept is kept as it was, and no round was added to a comparison that was finished."""
    now = tuning.ask(ROUNDS)
    assert now[: len(rounds)] == rounds
    assert set(answers) <= set(tuning.ask(ANSWERS))
    assert not finished & {row[1] for row in now[len(rounds) :]}


def is_finished(tuning: Tuning) -> None:
    """The end of an uninterrupted run, whatever came before it; the last run was killed while it installed."""
    rounds, answers, jobs = tuning.ask(ROUNDS), tuning.ask(ANSWERS), len(tuning.jobs())
    tuning.finish()
    assert (tuning.ask(ROUNDS), tuning.ask(ANSWERS)) == (rounds, answers)
    assert {job for job, _ in tuning.jobs()[jobs:]} <= {"version"}, "all is known, and the device is asked again"
    chosen = tuning.report()["choice"]["artifact"]  # type: ignore[index]
    assert tuning.active() == chosen
    assert tuning.left_on_device() == []
    assert tuning.strays() == []
    assert tuning.ask("SELECT state FROM studies") == [("done",)]
    assert ArtifactStore(tuning.home / "artifacts").damaged() == ()
    with Ledger(tuning.home / "ledger.db") as ledger:
        assert ledger.check() == ()
        for key, study in set(tuning.ask("SELECT key, run FROM rounds")):
            numbers = [r.index for r in ledger.rounds(str(key), str(study))]
            assert numbers == list(range(len(numbers))), "a round was run twice"
            assert 10 <= len(numbers) <= 30


def test_a_tuning_that_is_killed_twice_finishes_as_one_that_was_not(tuning: Tuning) -> None:
    assert kill_and_go_on(tuning, list(moments(1, 2))) == 2
    is_finished(tuning)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_twenty_random_moments_a_tuning_finishes_as_one_that_was_not(tuning: Tuning, seed: int) -> None:
    assert kill_and_go_on(tuning, list(moments(100 + seed, 4))) == 4
    is_finished(tuning)
