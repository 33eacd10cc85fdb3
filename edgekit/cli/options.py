"""The manner and the options that commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.times import parse_length

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


def new_app() -> typer.Typer:
    """A command of commands in edgekit's manner: plain help that can be piped, errors left to `main.run`."""
    return typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=dict(HELP_OPTIONS),
    )


@dataclass
class State:
    """What the error handler must know of the command line."""

    debug: bool = False


def _remember_debug(context: typer.Context, value: bool) -> bool:  # noqa: FBT001  the parser's signature
    if value and isinstance(context.obj, State):
        context.obj.debug = True
    return value


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", is_eager=True, callback=_remember_debug),
]
DeviceName = Annotated[str, typer.Option("--device", metavar="NAME", help="A device of `edgekit devices list`.")]
Wait = Annotated[
    str | None,
    typer.Option("--wait", metavar="TIME", help="Wait so long, like 10m, for a device that somebody else holds."),
]
TargetName = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="A target of `edgekit targets list`; default: the device's."),
]
ProjectFile = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project.toml.")]


def wait_seconds(wait: str | None) -> float:
    """The seconds that --wait asks for; without it none. Raises: UsageError."""
    return parse_length(wait, "--wait") if wait else 0.0
