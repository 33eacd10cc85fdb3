"""The ledger's tables, and the numbered steps that brought them here."""

from collections.abc import Callable, Sequence

from sqlalchemy import (
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from edgekit.errors import StoreError

META = MetaData()
LONGEST_NAME = 255

VERSION = Table("edgekit_schema", META, Column("version", Integer, nullable=False))

STUDIES = Table(
    "studies",
    META,
    Column("id", String(LONGEST_NAME), primary_key=True),
    Column("project", String(LONGEST_NAME), nullable=False),
    Column("device", String(LONGEST_NAME), nullable=False),
    Column("target", String(LONGEST_NAME), nullable=False),
    Column("state", String(16), nullable=False),
    Column("started_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

ANSWERS = Table(
    "answers",
    META,
    Column("study", String(LONGEST_NAME), primary_key=True),
    Column("question", String(64), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

TRIALS = Table(
    "trials",
    META,
    Column("study", String(LONGEST_NAME), primary_key=True),
    Column("name", String(LONGEST_NAME), primary_key=True),
    Column("artifact", String(64), nullable=True),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

MEASUREMENTS = Table(
    "measurements",
    META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False),
    Column("run", String(64), nullable=False),
    Column("artifact", String(64), nullable=False),
    Column("device", String(LONGEST_NAME), nullable=False),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("measurements_by_key", "key"),
)

ROUNDS = Table(
    "rounds",
    META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("key", String(64), nullable=False),
    Column("run", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("rounds_by_key", "key"),
)

PRICES = Table(
    "prices",
    META,
    Column("device_class", String(64), primary_key=True),
    Column("runtime", String(LONGEST_NAME), primary_key=True),
    Column("threads", Integer, primary_key=True),
    Column("signature", String(64), primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("at", Float, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

DEPLOYMENTS = Table(
    "deployments",
    META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("device", String(LONGEST_NAME), nullable=False),
    Column("name", String(LONGEST_NAME), nullable=False),
    Column("artifact", String(64), nullable=False),
    Column("event", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("body", Text, nullable=False),
    Index("deployments_by_device", "device", "name"),
)

APPEND_ONLY = ("measurements", "rounds", "deployments")


def _first_tables(connection: Connection) -> None:
    """Schema 1."""
    tables = (STUDIES, ANSWERS, TRIALS, MEASUREMENTS, ROUNDS, PRICES, DEPLOYMENTS)
    META.create_all(connection, tables=tables, checkfirst=False)
    if connection.dialect.name != "sqlite":
        return
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            connection.execute(
                text(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )
            )


Migration = Callable[[Connection], None]
MIGRATIONS: tuple[Migration, ...] = (_first_tables,)
"""Step n brings a ledger from schema n to n + 1. A step that was released is never changed."""


def migrate(connection: Connection, where: str, steps: Sequence[Migration] = MIGRATIONS) -> int:
    """Brings the ledger behind `connection` to the newest schema, within the caller's transaction; its number.

    Raises: StoreError if the ledger is of a newer edgekit, or is no ledger.
    """
    if not inspect(connection).has_table(VERSION.name):
        if inspect(connection).get_table_names():
            raise StoreError(f"{where}: a database, but not an edgekit ledger: name another file")
        VERSION.create(connection)
        connection.execute(insert(VERSION).values(version=0))
    found = connection.execute(select(VERSION.c.version)).scalar_one()
    if found > len(steps):
        raise StoreError(
            f"{where}: ledger of schema {found}, and this edgekit reads 1 to {len(steps)}: install a newer edgekit"
        )
    for step in steps[found:]:
        step(connection)
    if found < len(steps):
        connection.execute(update(VERSION).values(version=len(steps)))
    return len(steps)
