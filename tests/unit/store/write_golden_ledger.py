"""Writes a ledger of the newest schema with one of everything, for tests/golden/ledger (once per schema number)."""

import sqlite3
import sys
from pathlib import Path

from edgekit.core.release import Deployment
from edgekit.store.ledger import Ledger
from tests.unit.store.nouns import a_round, measurement, price, study


def main(path: Path) -> None:
    with Ledger(path, now=lambda: 1_700_000_000.0) as ledger:
        ledger.save_study(study(), "done")
        ledger.save_trial("s1", study().trials[0])
        ledger.remember("s1", "q1", "measure", b'{"kept":true}')
        ledger.add_run("key", "run", [a_round(0), a_round(1)], [measurement()])
        ledger.save_prices("class", "onnxruntime 1.32.0", 1, [price()])
        ledger.add_deployment(Deployment(device="d", name="net", artifact="a" * 64, version="v1", active=True))
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.execute("PRAGMA journal_mode=DELETE")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
