"""Making room: what no kept study and no deployment refers to goes."""

import time

from edgekit.store.artifacts import ArtifactStore, Collected
from edgekit.store.ledger import Ledger


def forget_old_studies(ledger: Ledger, keep: int) -> tuple[str, ...]:
    """Drops all but the `keep` newest finished studies of each project and device; the ids dropped. Open ones stay."""
    seen: dict[tuple[str, str], int] = {}
    dropped = []
    for row in ledger.studies():
        if row.state == "open":
            continue
        seen[row.project, row.device] = seen.get((row.project, row.device), 0) + 1
        if seen[row.project, row.device] > keep:
            ledger.forget_study(row.id)
            dropped.append(row.id)
    return tuple(dropped)


def forget_stopped_studies(ledger: Ledger, min_age_s: float) -> tuple[str, ...]:
    """Drops the studies that are open and got no answer for `min_age_s`: nobody goes on with them; the ids dropped."""
    last = time.time() - min_age_s
    dropped = tuple(row.id for row in ledger.studies() if row.state == "open" and row.updated_at <= last)
    for study in dropped:
        ledger.forget_study(study)
    return dropped


def collect(store: ArtifactStore, ledger: Ledger, *, min_age_s: float = 3600.0, dry_run: bool = False) -> Collected:
    """Removes the artifacts that nothing kept refers to, and what interrupted work left. Raises: StoreError."""
    return store.gc(ledger.artifacts_in_use(), min_age_s=min_age_s, dry_run=dry_run)
