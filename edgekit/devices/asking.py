"""Secrets that only a person can give: asked for at the terminal, kept nowhere, and never where there is none."""

import getpass
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.said import readable

TTY = "EDGEKIT_TTY"


@dataclass(frozen=True)
class Terminal:
    """The terminal that this process was started at."""

    path: str

    def ask(self, question: str) -> str:
        """What a person types, unseen."""
        return getpass.getpass(question + ": ")

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables by which the system's ssh asks here, though it runs in a session of its own."""
        program = folder / "ask"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edgekit.devices.asking "$1"\n')
        program.chmod(0o700)
        return {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":", TTY: self.path}


def terminal() -> Terminal | None:
    """The terminal to ask at; None in a script, a pipe or a service, where nobody would answer.

    None in any thread but the main one too: of many devices asked at once, no person could tell the questions apart.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    return Terminal(os.ttyname(sys.stdin.fileno()))


def _answer_ssh(question: str) -> None:
    """Asks at the terminal named by `Terminal.environment`; the answer goes to stdout, where ssh reads it."""
    tty = Path(os.environ[TTY])
    with tty.open(encoding="utf-8") as sys.stdin, tty.open("w", encoding="utf-8") as sys.stderr:
        sys.stdout.write(getpass.getpass(readable(question, 200) + " ") + "\n")


if __name__ == "__main__":
    _answer_ssh(sys.argv[1])
