"""`edgekit`: finds the command, runs it, and ends every error as one line and an exit code.

Only the command that is asked for is imported: `edgekit --help` loads nothing heavy.
"""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType
from typing import Annotated, Any

import typer

import edgekit
from edgekit.cli.options import HELP_OPTIONS, State, new_app
from edgekit.cli.output import printable
from edgekit.errors import EdgekitError

COMMANDS = {
    "init": "Write a commented project.toml for a model.",
    "doctor": "What this computer can build, run and reach; what is missing.",
    "devices": "The machines to tune for.",
    "lab": "Devices to try edgekit with, on this computer.",
    "tune": "The fastest form of a model on a device: the main job.",
    "bench": "Compare two artifacts on a device.",
    "profile": "One artifact on a device by itself: cold, steady, sustained.",
    "compress": "Apply a recipe to a model and say what it costs.",
    "convert": "Build an artifact for a target.",
    "check": "Whether an artifact computes what was scored, layer by layer.",
    "push": "Install an artifact on a device.",
    "report": "Write a study's page again, or list the studies.",
    "artifacts": "What is in the store, and whether it is sound.",
    "targets": "The formats and machines that edgekit builds for.",
    "gc": "Remove what no kept study and no deployment needs.",
}
"""Each command is edgekit/cli/<name>.py: a Typer `app` (with commands of its own) or a function `command`."""

EXIT_CODES = {
    0: "done; the answer is yes",
    1: "done; the answer is no (a gate, a benchmark, a check)",
    2: "usage: what was written cannot be used",
    3: "aborted by a gate",
    4: "a device cannot be reached",
    5: "INCONSISTENT: a fleet's state is not as recorded",
    6: "somebody else holds a device, or took it over",
    7: "partial: done for some, not for all",
    8: "a device's storage is full or cannot be written",
    10: "any other error",
    130: "stopped by Ctrl-C or SIGTERM; the same command resumes",
    141: "the reader of the output went away",
}

SHOW_CURSOR = b"\x1b[?25h"
"""A moving line hides the cursor, and a second Ctrl-C leaves it no time to show it again."""

ABOUT = (
    "The fastest form of a PyTorch model on the device that will run it: measured there, explained, installed there."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits; see EXIT_CODES."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is usual:  # what started us may have it ignored
            signal.signal(number, _stop)
    # torch's threads spin while they wait: on a computer that does other work too, calibrating took 15 times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def _stop(_number: int, _frame: FrameType | None) -> None:
    """The first Ctrl-C stops the work, which clears up behind itself; the second ends this process where it is."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), SHOW_CURSOR)
    raise KeyboardInterrupt


def run(arguments: Sequence[str]) -> int:
    """The exit code of a command line; what it says goes to stdout, errors to stderr as one line."""
    state = State()
    try:
        with _quiet_libraries(unless="--debug" in arguments):
            code = _call(arguments, state)
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go_of_stdout()
        return 141
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except Exception as error:  # noqa: BLE001  the one place where any error becomes a line
        if state.debug:
            traceback.print_exc()
        line, code = told(error)
        print(f"edgekit: {printable(line)}", file=sys.stderr)  # noqa: T201
    return code


@contextmanager
def _quiet_libraries(*, unless: bool) -> Iterator[None]:
    """Keeps what libraries log and warn of off the terminal: their errors reach the user as one line of ours."""
    if unless:
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _call(arguments: Sequence[str], state: State) -> int:
    command = typer.main.get_command(build(wanted_command(arguments)))
    try:
        with command.make_context("edgekit", list(arguments), obj=state) as context:
            command.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    return 0


def _stopped() -> int:
    print("edgekit: stopped; the same command resumes", file=sys.stderr)  # noqa: T201
    return 130


def _let_go_of_stdout() -> None:
    """Points stdout nowhere, so that the interpreter's last flush fails on nothing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def told(error: Exception) -> tuple[str, int]:
    """An error as one line for the user, and the exit code."""
    if isinstance(error, EdgekitError):
        return str(error), error.exit_code
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # the parser's own, whatever its module
        path = getattr(getattr(error, "ctx", None), "command_path", "edgekit")
        return f"{' '.join(error.format_message().split())} (see `{path} --help`)", 2
    if isinstance(error, OSError):
        return f"{error.filename or 'system'}: {error.strerror or error}", 10
    return f"a fault of edgekit's own: {_where(error)}; --debug shows more", 10


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""  # noqa: PTH119
    return f"{type(error).__name__}{place}: {' '.join(str(error).split())}"


def wanted_command(arguments: Sequence[str]) -> str | None:
    """The command that a command line names: its first word that is not an option.

    >>> wanted_command(["--debug", "tune", "project.toml"])
    'tune'
    """
    return next((word for word in arguments if not word.startswith("-")), None)


def build(wanted: str | None) -> typer.Typer:
    """The command line with only `wanted` imported; the others are their names and one line of help."""
    app = new_app()
    app.callback(invoke_without_command=True, help=ABOUT)(_root)
    for name, line in COMMANDS.items():
        add_command(app, name, line, load=name == wanted)
    return app


def add_command(app: typer.Typer, name: str, line: str, *, load: bool) -> None:
    """Adds a command to `app`: itself, or where it is not to be loaded, its name and line only."""
    if not load:
        app.command(name, help=line)(_not_loaded)
        return
    module = import_module(f"edgekit.cli.{name}")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name, help=line)
    else:
        function: Callable[..., Any] = module.command
        app.command(name, help=f"{line}\n\n{function.__doc__ or ''}", context_settings=HELP_OPTIONS)(function)


def _not_loaded() -> None:
    """Stands in for a command in the list of commands."""


def _root(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(f"edgekit {edgekit.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


if __name__ == "__main__":
    main()
