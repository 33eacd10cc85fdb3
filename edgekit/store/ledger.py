"""The ledger: what was asked, tried, measured and deployed. Killing the process at any point loses nothing kept."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec
from sqlalchemy import Connection, Select, Table, delete, insert, select, text

from edgekit.core.device import Facts
from edgekit.core.measurement import Measurement, Round
from edgekit.core.noun import digest, from_json, to_json
from edgekit.core.price import OpPrice
from edgekit.core.release import Deployment
from edgekit.core.trial import Study, Trial
from edgekit.errors import StoreError, UsageError
from edgekit.store import schema as t
from edgekit.store.engine import mask, open_engine, sqlite_path, transaction
from edgekit.store.files import writing

State = Literal["open", "done"]
T = TypeVar("T")


class StudyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A study in a list: moments are seconds since 1970."""

    id: str
    project: str
    device: str
    target: str
    state: State
    started_at: float
    updated_at: float


def device_class(facts: Facts) -> str:
    """The key under which op prices are shared: equal processors, features, systems, memory and power modes have one.

    >>> device_class(Facts(arch="x86_64", free_bytes=1)) == device_class(Facts(arch="x86_64", free_bytes=2))
    True
    """
    return digest("device class", facts.lasting())


class Ledger:
    """A ledger in a database: an SQLAlchemy URL, or the path of an SQLite file, made where there is none.

    Several processes may share it; each method is one transaction. Raises everywhere: StoreError, when nothing of the
    call was kept.
    """

    def __init__(self, where: str | Path, *, now: Callable[[], float] = time.time) -> None:
        url = where if isinstance(where, str) and "://" in where else f"sqlite:///{where}"
        self._now = now
        self._engine = open_engine(url)
        file = sqlite_path(url)
        self._name = f"ledger {file or mask(url)}"
        if file is not None:
            _make_folder(file)
        try:
            with self._write() as connection:
                t.migrate(connection, self._name)
        except StoreError:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _write(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._name, writes=True)

    def _read(self) -> AbstractContextManager[Connection]:
        return transaction(self._engine, self._name, writes=False)

    def _bodies(self, query: Select[Any], kind: type[T]) -> tuple[T, ...]:
        """The nouns in the column `body` of what `query` finds."""
        with self._read() as connection:
            rows = connection.execute(query).scalars().all()
        return tuple(self._decode(body, kind) for body in rows)

    def _decode(self, body: bytes, kind: type[T]) -> T:
        try:
            return from_json(body, kind, self._name)
        except UsageError as error:
            raise StoreError(f"{error}: written by another edgekit, or damaged") from None

    # Studies, their answers and trials

    def save_study(self, study: Study, state: State) -> None:
        """Keeps `study` as it is now, in place of what was kept of it."""
        with self._write() as connection:
            same = t.STUDIES.c.id == study.id
            started = connection.execute(select(t.STUDIES.c.started_at).where(same)).scalar()
            connection.execute(delete(t.STUDIES).where(same))
            connection.execute(
                insert(t.STUDIES).values(
                    id=study.id, project=study.project, device=study.device, target=study.target, state=state,
                    started_at=started or self._now(), updated_at=self._now(), body=to_json(study),
                )
            )  # fmt: skip

    def open_study(self, study: Study) -> Study:
        """Keeps a study that begins. One that is kept already stays as it is, and is what comes back: it goes on."""
        with self._read() as connection:
            body = connection.execute(select(t.STUDIES.c.body).where(t.STUDIES.c.id == study.id)).scalar()
        if body is not None:
            return self._decode(body, Study)
        self.save_study(study, "open")
        return study

    def studies(self) -> tuple[StudyRow, ...]:
        """All kept studies, the newest first."""
        c = t.STUDIES.c
        query = select(c.id, c.project, c.device, c.target, c.state, c.started_at, c.updated_at)
        with self._read() as connection:
            rows = connection.execute(query.order_by(c.updated_at.desc(), c.id)).mappings().all()
        return tuple(StudyRow(**row) for row in rows)

    def study(self, text: str) -> Study:
        """The study whose id is `text` or, where it is the only one, begins with it. Raises: UsageError if none."""
        hits = [row.id for row in self.studies() if row.id.startswith(text)]
        exact = [found for found in hits if found == text] or hits
        if not text or len(exact) != 1:
            said = "more than one begins so, write more letters" if exact else "there is none"
            raise UsageError(f"study {text!r}: {said}: `edgekit report` lists them")
        return self._bodies(select(t.STUDIES.c.body).where(t.STUDIES.c.id == exact[0]), Study)[0]

    def forget_study(self, study: str) -> None:
        """Drops a study with its answers and trials; what was measured stays."""
        with self._write() as connection:
            connection.execute(delete(t.STUDIES).where(t.STUDIES.c.id == study))
            connection.execute(delete(t.ANSWERS).where(t.ANSWERS.c.study == study))
            connection.execute(delete(t.TRIALS).where(t.TRIALS.c.study == study))

    def answer(self, study: str, question: str) -> bytes | None:
        """The answer kept for a question (its digest) of a study; None if it was not answered yet."""
        same = (t.ANSWERS.c.study == study) & (t.ANSWERS.c.question == question)
        with self._read() as connection:
            body = connection.execute(select(t.ANSWERS.c.body).where(same)).scalar()
        return bytes(body) if body is not None else None

    def remember(self, study: str, question: str, kind: str, body: bytes) -> bytes:
        """Keeps an answer; the first one stays, and is what comes back: a resumed study sees what the first run saw."""
        same = (t.ANSWERS.c.study == study) & (t.ANSWERS.c.question == question)
        with self._write() as connection:
            kept = connection.execute(select(t.ANSWERS.c.body).where(same)).scalar()
            if kept is not None:
                return bytes(kept)
            connection.execute(
                insert(t.ANSWERS).values(study=study, question=question, kind=kind, at=self._now(), body=body)
            )
        return body

    def save_trial(self, study: str, trial: Trial) -> None:
        """Keeps a trial of a study as it is now, in place of what was kept under its name."""
        with self._write() as connection:
            same = (t.TRIALS.c.study == study) & (t.TRIALS.c.name == trial.name)
            connection.execute(delete(t.TRIALS).where(same))
            connection.execute(
                insert(t.TRIALS).values(
                    study=study, name=trial.name, artifact=trial.artifact, at=self._now(), body=to_json(trial)
                )
            )

    def trials(self, study: str) -> tuple[Trial, ...]:
        """The trials of a study, by name."""
        return self._bodies(select(t.TRIALS.c.body).where(t.TRIALS.c.study == study).order_by(t.TRIALS.c.name), Trial)

    # What was measured: rows are only ever added

    def add_run(
        self, key: str, run: str, rounds: Iterable[Round] = (), measurements: Iterable[Measurement] = ()
    ) -> None:
        """Adds what one run of measuring saw under its key: rounds and measurements, in one transaction."""
        at = self._now()
        rows = [{"key": key, "run": run, "at": at, "body": to_json(r)} for r in rounds]
        results = [
            {"key": key, "run": run, "at": at, "artifact": m.artifact, "device": m.device, "body": to_json(m)}
            for m in measurements
        ]
        with self._write() as connection:
            if rows:
                connection.execute(insert(t.ROUNDS), rows)
            if results:
                connection.execute(insert(t.MEASUREMENTS), results)

    def rounds(self, key: str, run: str | None = None) -> tuple[Round, ...]:
        """The rounds under a key, of all runs or of one, in the order they were added."""
        return self._bodies(_of_key(t.ROUNDS, key, run), Round)

    def measurements(self, key: str, run: str | None = None) -> tuple[Measurement, ...]:
        """The measurements under a key, of all runs or of one, in the order they were added."""
        return self._bodies(_of_key(t.MEASUREMENTS, key, run), Measurement)

    def runs(self, key: str) -> tuple[str, ...]:
        """The runs that added rows under a key, the oldest first."""
        with self._read() as connection:
            found: list[tuple[float, str]] = []
            for table in (t.ROUNDS, t.MEASUREMENTS):
                query = select(table.c.at, table.c.run).where(table.c.key == key).order_by(table.c.id)
                found += [(at, run) for at, run in connection.execute(query)]
        return tuple(dict.fromkeys(run for _, run in sorted(found, key=lambda pair: pair[0])))

    # Op prices

    def save_prices(self, device_class: str, runtime: str, threads: int, prices: Iterable[OpPrice]) -> None:
        """Keeps prices for a device class, a runtime with its version ("onnxruntime 1.32.0") and a number of threads.

        A newer price takes the place of an older one of the same signature and source.
        """
        c = t.PRICES.c
        place = {"device_class": device_class, "runtime": runtime, "threads": threads}
        with self._write() as connection:
            for price in prices:
                row = place | {"signature": digest(price.signature), "source": price.source}
                connection.execute(delete(t.PRICES).where(*(c[name] == value for name, value in row.items())))
                connection.execute(insert(t.PRICES).values(**row, at=self._now(), body=to_json(price)))

    def prices(self, device_class: str, runtime: str, threads: int) -> tuple[OpPrice, ...]:
        """The prices kept for a device class, runtime and threads, the oldest first."""
        c = t.PRICES.c
        same = (c.device_class == device_class) & (c.runtime == runtime) & (c.threads == threads)
        return self._bodies(select(c.body).where(same).order_by(c.at, c.signature, c.source), OpPrice)

    # Deployments: rows are only ever added; the last one of a device and name holds

    def add_deployment(self, deployment: Deployment, event: Literal["installed", "removed"] = "installed") -> None:
        """Adds what was deployed on, or removed from, a device."""
        with self._write() as connection:
            connection.execute(
                insert(t.DEPLOYMENTS).values(
                    device=deployment.device, name=deployment.name, artifact=deployment.artifact, event=event,
                    at=self._now(), body=to_json(deployment).decode(),
                )
            )  # fmt: skip

    def deployments(self, device: str | None = None) -> tuple[Deployment, ...]:
        """What is deployed, on all devices or on one: the last of each device and name, unless it was removed."""
        c = t.DEPLOYMENTS.c
        query = select(c.device, c.name, c.event, c.body).order_by(c.id)
        with self._read() as connection:
            rows = connection.execute(query if device is None else query.where(c.device == device)).all()
        last = {(row.device, row.name): row for row in rows}
        return tuple(self._decode(row.body, Deployment) for row in last.values() if row.event == "installed")

    # The whole

    def artifacts_in_use(self) -> frozenset[str]:
        """Ids of the artifacts that a kept study or a deployment (the one before it included) refers to."""
        studies = self._bodies(select(t.STUDIES.c.body), Study)
        used = {trial.artifact for study in studies for trial in study.trials}
        used |= {study.choice.artifact for study in studies if study.choice}
        with self._read() as connection:
            used |= set(connection.execute(select(t.TRIALS.c.artifact)).scalars())
            rows = connection.execute(
                select(t.DEPLOYMENTS.c.device, t.DEPLOYMENTS.c.name, t.DEPLOYMENTS.c.artifact)
            ).all()
        now = {(d.device, d.name) for d in self.deployments()}
        by_slot: dict[tuple[str, str], list[str]] = {}
        for device, name, artifact in rows:
            by_slot.setdefault((device, name), []).append(artifact)
        for slot in now:
            used |= set(by_slot[slot][-2:])
        return frozenset(a for a in used if a)

    def check(self) -> tuple[str, ...]:
        """What is wrong with the database's file, in its own words; empty if it is sound or is not SQLite."""
        if self._engine.dialect.name != "sqlite":
            return ()
        with self._read() as connection:
            found = connection.execute(text("PRAGMA integrity_check")).scalars().all()
        return tuple(str(line) for line in found if line != "ok")


def _of_key(table: Table, key: str, run: str | None) -> Select[Any]:
    query = select(table.c.body).where(table.c.key == key).order_by(table.c.id)
    return query if run is None else query.where(table.c.run == run)


def _make_folder(file: Path) -> None:
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
