"""This computer as a device: the same commands, run by its own shell."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from edgekit.devices.conversation import Conversation, Running
from edgekit.devices.process import start_process
from edgekit.devices.transport import OnBytes
from edgekit.devices.words import bounded_line

SHELL = "/bin/sh"


class LocalTransport(Conversation):
    """Commands run as this user, in the home folder, each in a session of its own, so that all of it can be ended."""

    def start(
        self, words: Sequence[str], stdin: bytes | BinaryIO | None, on_bytes: OnBytes | None, timeout_s: float
    ) -> Running:
        """As `Conversation.start`."""
        line = (SHELL, "-c", bounded_line(words, timeout_s))
        return start_process(self.name, line, stdin, on_bytes, cwd=Path.home(), program=words[0])

    def overdue(self) -> None:
        """Nothing to do: closing the command has ended it."""

    def close(self) -> None:
        """As `Transport.close`."""
