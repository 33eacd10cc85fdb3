import shutil
import sqlite3
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from edgekit.core.release import Deployment
from edgekit.errors import StoreError, UsageError
from edgekit.store.engine import mask, open_engine, transaction
from edgekit.store.gc import forget_old_studies, forget_stopped_studies
from edgekit.store.ledger import Ledger
from edgekit.store.schema import MIGRATIONS, migrate
from tests.unit.store.nouns import a_round, measurement, price, study

GOLDEN = Path(__file__).parents[2] / "golden" / "ledger"


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger(tmp_path / "ledger.db") as opened:
        yield opened


def test_what_was_kept_is_there_when_the_ledger_is_opened_again(tmp_path: Path) -> None:
    with Ledger(tmp_path / "deep" / "ledger.db") as one:
        one.save_study(study(), "done")
        one.save_trial("s1", study().trials[0])
        one.add_run("key", "run", [a_round(0), a_round(1)], [measurement()])
        one.save_prices("class", "onnxruntime 1.32.0", 1, [price()])
    with Ledger(tmp_path / "deep" / "ledger.db") as two:
        assert two.study("s1") == study()
        assert two.trials("s1") == study().trials
        assert two.rounds("key") == (a_round(0), a_round(1))
        assert two.measurements("key") == (measurement(),)
        assert two.prices("class", "onnxruntime 1.32.0", 1) == (price(),)
        assert two.check() == ()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"), st.binary(max_size=8)), max_size=12))
@settings(max_examples=15, deadline=None)
def test_the_first_answer_to_a_question_stays(tmp_path_factory: pytest.TempPathFactory, told: list) -> None:
    first: dict[tuple[str, str], bytes] = {}
    with Ledger(tmp_path_factory.mktemp("l") / "ledger.db") as ledger:
        for name, question, body in told:
            first.setdefault((name, question), body)
            assert ledger.remember(name, question, "measure", body) == first[name, question]
        for (name, question), body in first.items():
            assert ledger.answer(name, question) == body
        assert ledger.answer("never", "asked") is None


def test_each_run_of_measuring_adds_rows_under_its_key(ledger: Ledger) -> None:
    ledger.add_run("key", "first", [a_round(0)], [measurement(p50_s=0.001)])
    ledger.add_run("key", "second", [a_round(0)], [measurement(p50_s=0.002)])
    ledger.add_run("other", "third", [a_round(5)])
    assert ledger.runs("key") == ("first", "second")
    assert len(ledger.rounds("key")) == 2
    assert ledger.measurements("key", "second") == (measurement(p50_s=0.002),)
    assert ledger.rounds("other") == (a_round(5),)


@pytest.mark.parametrize("table", ["rounds", "measurements", "deployments"])
@pytest.mark.parametrize("change", ["UPDATE {} SET at = 0", "DELETE FROM {}"])
def test_rows_of_measurements_and_deployments_can_only_be_added(tmp_path: Path, table: str, change: str) -> None:
    with Ledger(tmp_path / "l.db") as ledger:
        ledger.add_run("key", "run", [a_round()], [measurement()])
        ledger.add_deployment(Deployment(device="d", name="n", artifact="a", version="1", active=True))
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        sqlite3.connect(tmp_path / "l.db").execute(change.format(table))


def test_a_newer_price_takes_the_place_of_the_old_one_on_its_class_runtime_and_threads_only(ledger: Ledger) -> None:
    ledger.save_prices("pi5", "onnxruntime 1.32.0", 1, [price(seconds=1.0), price("Add")])
    ledger.save_prices("pi5", "onnxruntime 1.32.0", 1, [price(seconds=2.0)])
    ledger.save_prices("pi5", "onnxruntime 1.32.0", 4, [price(seconds=3.0)])
    assert {(p.signature.kind, p.seconds) for p in ledger.prices("pi5", "onnxruntime 1.32.0", 1)} == {
        ("Conv", 2.0), ("Add", 0.001),
    }  # fmt: skip
    assert [p.seconds for p in ledger.prices("pi5", "onnxruntime 1.32.0", 4)] == [3.0]
    assert ledger.prices("pi5", "onnxruntime 1.31.0", 1) == ()


def test_studies_are_listed_newest_first_and_found_by_a_unique_beginning(tmp_path: Path) -> None:
    clock = iter(range(100))
    with Ledger(tmp_path / "l.db", now=lambda: float(next(clock))) as ledger:
        ledger.save_study(study("abc1"), "open")
        ledger.save_study(study("abd2"), "done")
        ledger.save_study(study("abc1"), "done")
        assert [(row.id, row.state) for row in ledger.studies()] == [("abc1", "done"), ("abd2", "done")]
        assert ledger.study("abc").id == "abc1"
        with pytest.raises(UsageError, match="more than one"):
            ledger.study("ab")
        with pytest.raises(UsageError, match="there is none"):
            ledger.study("zz")


def test_forgetting_a_study_drops_its_answers_and_keeps_what_was_measured(ledger: Ledger) -> None:
    ledger.save_study(study(), "done")
    ledger.remember("s1", "q", "measure", b"1")
    ledger.add_run("key", "run", [a_round()], [measurement()])
    ledger.forget_study("s1")
    assert ledger.studies() == ()
    assert ledger.answer("s1", "q") is None
    assert ledger.trials("s1") == ()
    assert ledger.rounds("key") == (a_round(),)


def test_old_finished_studies_are_forgotten_and_open_ones_stay(tmp_path: Path) -> None:
    clock = iter(range(100))
    with Ledger(tmp_path / "l.db", now=lambda: float(next(clock))) as ledger:
        for name, state in (("a", "done"), ("b", "open"), ("c", "done"), ("d", "done")):
            ledger.save_study(study(name), state)
        ledger.save_study(study("e", project="other"), "done")
        assert forget_old_studies(ledger, keep=1) == ("c", "a")
        assert {row.id for row in ledger.studies()} == {"b", "d", "e"}


def test_a_study_that_is_opened_again_is_as_it_was_left(ledger: Ledger) -> None:
    begun = msgspec.structs.replace(study(), choice=None, trials=())
    assert ledger.open_study(begun) == begun
    assert [(row.id, row.state) for row in ledger.studies()] == [("s1", "open")]
    further = msgspec.structs.replace(begun, pushes=7, seconds=60.0)
    ledger.save_study(further, "open")
    assert ledger.open_study(begun) == further
    ledger.save_study(study(), "done")
    assert ledger.open_study(begun) == study()
    assert [row.state for row in ledger.studies()] == ["done"]


def test_a_study_that_was_stopped_long_ago_is_forgotten_and_a_young_or_finished_one_is_not(tmp_path: Path) -> None:
    ages = {"old": 10 * 86400.0, "young": 60.0, "done": 10 * 86400.0}
    for name, age_s in ages.items():
        with Ledger(tmp_path / "l.db", now=lambda age_s=age_s: time.time() - age_s) as ledger:
            ledger.save_study(study(name), "done" if name == "done" else "open")
            ledger.remember(name, "q", "measure", b"1")
    with Ledger(tmp_path / "l.db") as ledger:
        assert forget_stopped_studies(ledger, 86400.0) == ("old",)
        assert {row.id for row in ledger.studies()} == {"young", "done"}
        assert [ledger.answer(name, "q") for name in ages] == [None, b"1", b"1"]


def test_the_artifact_that_an_open_study_has_chosen_is_in_use_before_it_is_installed(ledger: Ledger) -> None:
    ledger.save_study(study(artifact="e" * 64), "open")
    assert "e" * 64 in ledger.artifacts_in_use()


def test_artifacts_of_kept_studies_and_of_deployments_with_the_one_before_are_in_use(ledger: Ledger) -> None:
    ledger.save_study(study(artifact="f" * 64), "done")
    for artifact in ("a1", "a2", "a3"):
        ledger.add_deployment(Deployment(device="d", name="net", artifact=artifact, version=artifact, active=True))
    gone = Deployment(device="d", name="old", artifact="b1", version="b1", active=True)
    ledger.add_deployment(gone)
    ledger.add_deployment(gone, "removed")
    assert ledger.artifacts_in_use() == {"f" * 64, "a2", "a3"}
    assert [d.artifact for d in ledger.deployments("d")] == ["a3"]
    assert ledger.deployments("another") == ()


def test_threads_and_handles_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    def work(name: str) -> None:
        with Ledger(tmp_path / "l.db") as ledger:
            for index in range(10):
                ledger.add_run("key", name, [a_round(index)])

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Ledger(tmp_path / "l.db") as ledger:
        assert [len(ledger.rounds("key", f"t{n}")) for n in range(4)] == [10] * 4
        assert ledger.check() == ()


def test_a_ledger_written_at_schema_1_opens_and_reads(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "schema_1.db", tmp_path / "l.db")
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.study("s1") == study()
        assert ledger.trials("s1") == study().trials
        assert ledger.answer("s1", "q1") == b'{"kept":true}'
        assert ledger.rounds("key") == (a_round(0), a_round(1))
        assert ledger.measurements("key") == (measurement(),)
        assert ledger.prices("class", "onnxruntime 1.32.0", 1) == (price(),)
        assert [d.version for d in ledger.deployments()] == ["v1"]
        ledger.add_run("key", "again", [a_round(2)])
        assert len(ledger.rounds("key")) == 3
        assert ledger.check() == ()


def test_an_older_ledger_is_brought_up_step_by_step_and_a_failing_step_leaves_it_as_it_was(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "schema_1.db", tmp_path / "l.db")
    engine = open_engine(f"sqlite:///{tmp_path / 'l.db'}")

    def adds(connection) -> None:
        connection.execute(text("ALTER TABLE studies ADD COLUMN note TEXT"))

    def fails(connection) -> None:
        connection.execute(text("CREATE TABLE half (a)"))
        connection.execute(text("SELECT nothing FROM nowhere"))

    with pytest.raises(StoreError), transaction(engine, "l", writes=True) as connection:
        migrate(connection, "l", (*MIGRATIONS, adds, fails))
    with Ledger(tmp_path / "l.db") as ledger:
        assert ledger.study("s1") == study()
    with transaction(engine, "l", writes=True) as connection:
        assert migrate(connection, "l", (*MIGRATIONS, adds)) == 2
    with transaction(engine, "l", writes=False) as connection:
        assert connection.execute(text("SELECT id, note FROM studies")).all() == [("s1", None)]
    engine.dispose()


def test_a_ledger_of_a_newer_edgekit_is_refused_in_words(tmp_path: Path) -> None:
    Ledger(tmp_path / "l.db").close()
    with sqlite3.connect(tmp_path / "l.db") as raw:
        raw.execute("UPDATE edgekit_schema SET version = 99")
    with pytest.raises(StoreError, match=r"schema 99.*install a newer edgekit"):
        Ledger(tmp_path / "l.db")


def test_a_file_that_is_no_ledger_is_told_in_words_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_bytes(b"this is no database at all, it is a letter" * 20)
    before = (tmp_path / "l.db").read_bytes()
    with pytest.raises(StoreError, match="not an edgekit ledger"):
        Ledger(tmp_path / "l.db")
    assert (tmp_path / "l.db").read_bytes() == before
    with sqlite3.connect(tmp_path / "other.db") as raw:
        raw.execute("CREATE TABLE mine (a)")
    with pytest.raises(StoreError, match="not an edgekit ledger"):
        Ledger(tmp_path / "other.db")


@pytest.mark.parametrize(
    ("url", "said"),
    [("nosuchdb://x", "SQLAlchemy URL"), ("://", "SQLAlchemy URL"), ("sqlite:////proc/none/ledger.db", "cannot be")],
)
def test_a_url_that_cannot_be_used_is_one_line(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        Ledger(url)


def test_a_password_in_a_url_is_never_said() -> None:
    assert "secret" not in mask("postgresql://me:secret@db/edgekit")
    with pytest.raises(StoreError) as error:
        Ledger("nosuchdb://me:secret@db/edgekit")
    assert "secret" not in str(error.value)
