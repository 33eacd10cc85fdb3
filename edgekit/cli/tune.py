"""`edgekit tune`: the main job."""

from pathlib import Path
from typing import Annotated

import typer

from edgekit.catalog import get_target
from edgekit.cli.options import Debug, DeviceName, Json, ProjectFile, TargetName, Wait, wait_seconds
from edgekit.cli.output import note, say_lines, show_json
from edgekit.cli.progress import shown
from edgekit.cli.words import study_words
from edgekit.devices.inventory import get_device
from edgekit.errors import UsageError
from edgekit.formats.names import extra_of
from edgekit.models.extras import require
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.files import write_whole
from edgekit.store.home import artifacts_folder, ledger_url, weights_folder
from edgekit.store.ledger import Ledger

MaxDrop = Annotated[
    str | None, typer.Option("--max-drop", metavar="SHARE", help="The drop allowed, like 0.5%; wins over the file's.")
]
Report = Annotated[Path, typer.Option("--report", metavar="FILE", help="Where to write the page.")]
Install = Annotated[bool, typer.Option("--install/--no-install", help="Install the choice on the device.")]


def command(
    project: ProjectFile,
    *,
    device: DeviceName = "local",
    target: TargetName = None,
    max_drop: MaxDrop = None,
    report: Report = Path("report.html"),
    install: Install = True,
    wait: Wait = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measured there, explained, installed there; exit 1 if the choice fails on the test split.

    Stopped at any point, the same command goes on where it was.
    """
    if not report.parent.is_dir():
        raise UsageError(f"--report {report}: no such folder {report.parent}")
    wait_s = wait_seconds(wait)
    machine = get_device(device)
    goal = get_target(target) if target else None
    require("torch", extra=extra_of(goal.format) if goal else "onnx")
    from edgekit.pipeline.fitting import fitting_target
    from edgekit.pipeline.job import open_job
    from edgekit.pipeline.tune import holds, tune
    from edgekit.report.page import render
    from edgekit.store.weights import WeightStore

    store = ArtifactStore(artifacts_folder())
    with Ledger(ledger_url()) as ledger, shown() as listener:
        job = open_job(project, max_drop=max_drop, listen=listener)
        study = tune(
            job, machine, goal or fitting_target(machine), store, WeightStore(weights_folder()), ledger,
            install_choice=install, listen=listener, wait_s=wait_s,
        )  # fmt: skip
    write_whole(report, render(study).encode())
    if json:
        show_json(study)
    else:
        say_lines(study_words(study).splitlines())
    note(f"wrote {report}")
    if study.choice is not None and not holds(study.choice):
        raise typer.Exit(1)
