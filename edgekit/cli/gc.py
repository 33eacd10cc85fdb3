"""`edgekit gc`: makes room."""

from typing import Annotated

import typer

from edgekit.cli.options import Debug, Json, Wait, wait_seconds
from edgekit.cli.output import say, show_json, size
from edgekit.cli.progress import shown
from edgekit.core.noun import to_builtins
from edgekit.devices.inventory import get_device
from edgekit.devices.push import collect as collect_bench
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.gc import collect, forget_old_studies, forget_stopped_studies
from edgekit.store.home import artifacts_folder, ledger_url, weights_folder
from edgekit.store.ledger import Ledger

Studies = Annotated[
    int | None,
    typer.Option(
        "--keep-studies",
        min=0,
        metavar="N",
        help="Forget all but the N newest finished studies of each project and device.",
    ),
]
Stopped = Annotated[
    float | None,
    typer.Option("--stopped-days", min=0, metavar="DAYS", help="Forget the studies that were stopped that long ago."),
]
MinAge = Annotated[
    float, typer.Option("--min-age", min=0, metavar="MINUTES", help="Leave what is younger: it may be in use.")
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="Also remove what measuring left on this device.")
]
Weights = Annotated[
    float,
    typer.Option(
        "--weights-days", min=0, metavar="DAYS", help="Forget trained weights of candidates unused for so long."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")]


def command(
    *,
    device: Device = None,
    keep_studies: Studies = None,
    stopped_days: Stopped = None,
    min_age: MinAge = 60.0,
    weights_days: Weights = 30.0,
    dry_run: DryRun = False,
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Kept are the artifacts of every study in the ledger, and of what is deployed with the one before it.

    What was measured is never removed. A study that was stopped is kept, for the same command to go on with.
    """
    from edgekit.pipeline.held import held
    from edgekit.store.weights import WeightStore

    if dry_run and not (keep_studies is None and stopped_days is None):
        raise typer.BadParameter(
            "--dry-run shows what goes with the studies as they are: leave --keep-studies and --stopped-days away"
        )
    wait_s = wait_seconds(wait)
    machine = get_device(device) if device else None
    with Ledger(ledger_url()) as ledger:
        forgotten = () if keep_studies is None else forget_old_studies(ledger, keep_studies)
        if stopped_days is not None:
            forgotten += forget_stopped_studies(ledger, stopped_days * 86400)
        found = collect(ArtifactStore(artifacts_folder()), ledger, min_age_s=min_age * 60, dry_run=dry_run)
    freed = WeightStore(weights_folder()).forget(unused_s=weights_days * 86400, dry_run=dry_run)
    if machine is not None and not dry_run:
        with shown() as listener, held(machine, "gc", wait_s=wait_s, listen=listener) as transport:
            collect_bench(transport, machine)
    if json:
        show_json({**to_builtins(found), "studies": forgotten, "weights_bytes": freed, "dry_run": dry_run})
        return
    verb = "would remove" if dry_run else "removed"
    studies = f", {len(forgotten)} studies" if forgotten else ""
    total = size(found.bytes_freed + freed)
    say(f"{verb} {len(found.artifacts)} artifacts, {found.leftovers} leftovers{studies}: {total}")
