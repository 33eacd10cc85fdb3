"""`edgekit bench`: compares two artifacts, or two model files, on a device."""

from typing import Annotated

import typer

from edgekit.cli.options import Debug, DeviceName, Json, Wait, wait_seconds
from edgekit.cli.output import note, say_lines, show_json
from edgekit.cli.words import comparison_words, measurement_table
from edgekit.devices.inventory import get_device
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder

Baseline = Annotated[
    str, typer.Argument(metavar="A", help="The baseline: an artifact's id or its first letters, its folder, or a file.")
]
Candidate = Annotated[str, typer.Argument(metavar="B", help="The candidate, likewise.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")]


def command(
    a: Baseline,
    b: Candidate,
    *,
    device: DeviceName = "local",
    threads: Threads = 1,
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Interleaved rounds, each form loaded fresh and alone; exit 1 if B is not faster than A by more than the noise."""
    wait_s = wait_seconds(wait)
    store, machine = ArtifactStore(artifacts_folder()), get_device(device)
    from edgekit.pipeline.alone import compare
    from edgekit.pipeline.named import artifact_named

    baseline, candidate = (artifact_named(text, machine, store) for text in (a, b))
    found = compare(
        baseline, candidate, machine, store, threads=threads, wait_s=wait_s,
        on_round=lambda r: note(f"measure: round {r.index + 1}"), listen=lambda event: note(f"device: {event.text}"),
    )  # fmt: skip
    if json:
        show_json(found)
    else:
        table = measurement_table((found.baseline, found.candidate)).splitlines()
        notes = (f"  note: {remark}" for remark in found.comparison.remarks)
        say_lines((*table, comparison_words(found.comparison), *notes))
    raise typer.Exit(0 if found.comparison.verdict == "faster" else 1)
