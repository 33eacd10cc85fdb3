"""`edgekit doctor`: what works here, what does not, and the command that mends it."""

from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.options import Debug, Json
from edgekit.cli.output import say_lines, show_json, table

if TYPE_CHECKING:
    from edgekit.cli.checks import Check

Reach = Annotated[bool, typer.Option("--reach/--no-reach", help="Also connect to every device of the inventory.")]

For = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="Only what it takes to build for this target and to measure there."),
]


def command(*, target: For = None, reach: Reach = True, json: Json = False, debug: Debug = False) -> None:
    """Exit code 1 if something that is needed is bad; what is merely missing gets the command that brings it."""
    if target is not None:
        from edgekit.cli.target_checks import target_checks

        checks = target_checks(target, reach=reach)
    else:
        from edgekit.cli.checks import host_checks
        from edgekit.cli.reach import device_checks

        checks = host_checks() + (device_checks() if reach else ())
    if json:
        show_json(checks)
    else:
        say_lines(_page(checks))
    raise typer.Exit(1 if any(check.state == "bad" for check in checks) else 0)


def _page(checks: "tuple[Check, ...]") -> list[str]:
    lines = table(("", "what", "found"), [(check.state, check.what, check.found) for check in checks]).splitlines()
    fixes = [f"  {check.what}: {check.fix}" for check in checks if check.fix]
    return [*lines, *(["", "To get what is missing:", *fixes] if fixes else [])]
