"""A database engine whose transactions are whole, and whose errors are one line."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from edgekit.errors import StoreError

BUSY_S = 30.0
WRITES = "edgekit_writes"


def open_engine(url: str) -> Engine:
    """An engine for an SQLAlchemy URL; SQLite is set to WAL, full sync, and waits for other processes.

    Raises: StoreError if the URL or its driver is unknown.
    """
    try:
        if url.startswith("sqlite:"):
            return _sqlite(url)
        return sqlalchemy.create_engine(url)
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"ledger {mask(url)}: want an SQLAlchemy URL ({error})") from None
    except ImportError as error:
        raise StoreError(f"ledger {mask(url)}: its driver is not installed (pip install {error.name})") from None


def _sqlite(url: str) -> Engine:
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by sqlite3
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _write_ahead(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A write takes the lock at once: one that upgrades midway could only fail.
        mode = "IMMEDIATE" if connection.get_execution_options().get(WRITES) else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Puts the file into WAL mode. SQLite does not wait there for whoever makes the same ledger at that moment.

    Raises: sqlite3.OperationalError, for another reason, or when its turn never comes.
    """
    end = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def sqlite_path(url: str) -> Path | None:
    """The file of an SQLite URL, None for any other."""
    parsed = sqlalchemy.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def mask(url: str) -> str:
    """`url` without its password.

    >>> mask("postgresql://me:secret@db/edgekit")
    'postgresql://me:***@db/edgekit'
    """
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a URL)"


@contextmanager
def transaction(engine: Engine, where: str, *, writes: bool) -> Iterator[Connection]:
    """A connection whose statements are kept all or not at all.

    Raises: StoreError with the database's reason; then nothing was kept.
    """
    try:
        with engine.execution_options(**{WRITES: writes}).begin() as connection:
            yield connection
    except DBAPIError as error:
        raise StoreError(f"{where}: {_advice(str(error.orig))}") from None


def _advice(reason: str) -> str:
    known = {
        "full": "no room on its disk: make room, nothing was lost",
        "disk i/o error": "its disk cannot be written (full, or a limit on file sizes): make room, nothing was lost",
        "locked": f"another process has held it for more than {BUSY_S:g} s: try again",
        "not a database": "not an edgekit ledger, or damaged: move it away, or restore it",
        "malformed": "damaged: move it away, or restore it",
        "unable to open": "cannot be opened: check that its folder exists and may be written",
        "readonly": "cannot be written: check its permissions",
    }
    for words, advice in known.items():
        if words in reason.lower():
            return f"{advice} ({reason})"
    return reason
