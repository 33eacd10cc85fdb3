"""`edgekit bench`: compares two artifacts, or two model files, on a device."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import Debug, DeviceName, Json, Wait, wait_seconds
from edgekit.cli.output import note, say_lines, show_json
from edgekit.cli.words import comparison_words, measurement_table
from edgekit.devices.inventory import get_device
from edgekit.errors import UsageError
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

if TYPE_CHECKING:
    from edgekit.bench.session import Plan

FEWEST, MOST = 5, 1000

Baseline = Annotated[
    str, typer.Argument(metavar="A", help="The baseline: an artifact's id or its first letters, its folder, or a file.")
]
Candidate = Annotated[str, typer.Argument(metavar="B", help="The candidate, likewise.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")]


Rounds = Annotated[
    str,
    typer.Option("--rounds", metavar="N|auto", help="How many; auto: until the ratio is known within 1 %, 10 to 40."),
]


def command(
    a: Baseline,
    b: Candidate,
    *,
    device: DeviceName = "local",
    threads: Threads = 1,
    rounds: Rounds = "auto",
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Interleaved rounds, each form loaded fresh and alone; exit 1 if B is not faster than A by more than the noise."""
    wait_s = wait_seconds(wait)
    store, machine, plan = ArtifactStore(artifacts_folder()), get_device(device), plan_of(rounds)
    from edgekit.pipeline.alone import compare
    from edgekit.pipeline.named import artifact_named

    baseline, candidate = (artifact_named(text, machine, store) for text in (a, b))
    found = compare(
        baseline, candidate, machine, store, threads=threads, plan=plan, wait_s=wait_s,
        on_round=lambda r: note(f"measure: round {r.index + 1}"), listen=lambda event: note(f"device: {event.text}"),
    )  # fmt: skip
    if json:
        show_json(found)
    else:
        table = measurement_table((found.baseline, found.candidate)).splitlines()
        notes = (f"  note: {remark}" for remark in found.comparison.remarks)
        say_lines((*table, comparison_words(found.comparison), *notes))
    raise typer.Exit(0 if found.comparison.verdict == "faster" else 1)


def plan_of(rounds: str) -> "Plan":
    """The plan that `--rounds` means. Raises: UsageError."""
    from edgekit.bench.session import Plan

    if rounds == "auto":
        return Plan()
    if not rounds.isdecimal() or not FEWEST <= int(rounds) <= MOST:
        raise UsageError(f"--rounds {rounds!r}: want auto, or {FEWEST} to {MOST}")
    return Plan(least=int(rounds), most=int(rounds))
