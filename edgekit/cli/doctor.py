"""`edgekit doctor`: what works here, what does not, and the command that mends it."""

from typing import Annotated

import typer

from edgekit.cli.checks import Check, host_checks
from edgekit.cli.options import Debug, Json
from edgekit.cli.output import say_lines, show_json, table
from edgekit.cli.reach import device_checks

Reach = Annotated[bool, typer.Option("--reach/--no-reach", help="Also connect to every device of the inventory.")]


def command(*, reach: Reach = True, json: Json = False, debug: Debug = False) -> None:
    """Exit code 1 if something that is needed is bad; what is merely missing gets the command that brings it."""
    checks = host_checks() + (device_checks() if reach else ())
    if json:
        show_json(checks)
    else:
        say_lines(_page(checks))
    raise typer.Exit(1 if any(check.state == "bad" for check in checks) else 0)


def _page(checks: tuple[Check, ...]) -> list[str]:
    lines = table(("", "what", "found"), [(check.state, check.what, check.found) for check in checks]).splitlines()
    fixes = [f"  {check.what}: {check.fix}" for check in checks if check.fix]
    return [*lines, *(["", "To get what is missing:", *fixes] if fixes else [])]
