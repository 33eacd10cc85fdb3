"""A machine as a list of another tool names it, and what those lists have in common: text of a sane size, ports."""

from getpass import getuser
from pathlib import Path

from edgekit.core.device import Device
from edgekit.core.noun import Noun
from edgekit.errors import UsageError

MOST_BYTES = 8 << 20
MOST_MACHINES = 10_000


class Machine(Noun, frozen=True, kw_only=True):
    """A machine as a file names it. `jump` is the name of the one that it is reached through.

    `problem` is why edgekit cannot reach it as the file says; None if it may.
    """

    name: str
    host: str
    port: int = 22
    user: str = ""
    identity: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    jump: str | None = None
    problem: str | None = None


def device_of(machine: Machine, *, root: str = ".edgekit", python: str = "python3") -> Device:
    """The device that a machine would be; nothing is asked of it, and its host keys are not known.

    >>> device_of(Machine(name="pi5", host="10.0.0.7", user="pi")).user
    'pi'
    """
    return Device(
        name=machine.name, host=machine.host, port=machine.port, user=machine.user or getuser(),
        identity=machine.identity, labels=machine.labels, root=root, python=python, jump=machine.jump,
    )  # fmt: skip


def read_text(path: Path) -> str:
    """The text of a file of a sane size. Raises: UsageError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None
    if len(raw) > MOST_BYTES:
        raise UsageError(f"{path}: is larger than {MOST_BYTES >> 20} MiB, which no list of machines is")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is no text in UTF-8 (byte {error.start})") from None


def port_of(text: str, where: str) -> int:
    """A port. Raises: UsageError.

    >>> port_of("2222", "hosts: line 3")
    2222
    """
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535):
        raise UsageError(f"{where}: want a port, 1 to 65535, got {text[:60]!r}")
    return int(text)
