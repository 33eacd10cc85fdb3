"""`edgekit lab`: devices to try edgekit with, on this computer."""

from edgekit.cli import enrolment
from edgekit.cli.devices import where
from edgekit.cli.options import Debug, Json, new_app
from edgekit.cli.output import note, say, show_json, show_table
from edgekit.errors import DeviceError

app = new_app()


@app.command("up")
def up(*, json: Json = False, debug: Debug = False) -> None:
    """Start a board, an arm64 userland (as root) and a phone, and put them into the inventory."""
    from edgekit.lab import devices as lab

    found = lab.up(note)
    for device in found:
        try:
            enrolment.probe_and_keep(device)
        except DeviceError as error:
            note(str(error))
    _show(json=json)
    if not json:
        say("Try: edgekit devices show lab-board; edgekit tune … --device lab-board. Their times are this computer's.")


@app.command("status")
def status(*, json: Json = False, debug: Debug = False) -> None:
    """Show which devices of the lab run."""
    _show(json=json)


@app.command("down")
def down(*, json: Json = False, debug: Debug = False) -> None:
    """End the lab's devices; nothing of them is left, in the inventory neither."""
    from edgekit.lab import devices as lab

    ended = lab.down()
    if json:
        show_json({"ended_processes": ended})
    else:
        say("the lab is down" if ended else "the lab was not up")


def _show(*, json: bool) -> None:
    from edgekit.lab import devices as lab

    rows = [(device.name, where(device), "runs" if runs else "does not run") for device, runs in lab.standing()]
    if json:
        show_json([dict(zip(("name", "where", "state"), row, strict=True)) for row in rows])
    else:
        show_table(("device", "where", "state"), rows, "the lab is not up: `edgekit lab up`")
