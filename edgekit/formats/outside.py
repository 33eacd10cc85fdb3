"""Runs a program of the user's, a compiler: in a process group of its own, what it says kept apart, with a deadline."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from edgekit.errors import ConvertError

MOST_SAID_BYTES = 1 << 20


def run_outside(command: Sequence[str], work: Path, deadline_s: float, what: str, missing: str) -> tuple[int, str]:
    """The exit status of a command run in `work`, and the end of what it said; all that it started is ended with it.

    Raises: ConvertError if it does not start, or is not done by the deadline: then there is no `missing`.
    """
    log = work / "said.txt"
    with log.open("wb") as said:
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd=work, start_new_session=True
            )
        except OSError as error:
            raise ConvertError(f"{what}: {command[0]} does not start: {error.strerror or error}") from None
        try:
            status = child.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            raise ConvertError(f"{what}: no {missing} after {deadline_s:g} s, so it was ended") from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    return status, log.read_bytes()[-MOST_SAID_BYTES:].decode(errors="replace")
