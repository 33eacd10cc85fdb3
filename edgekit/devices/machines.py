"""Machines that other tools' files name: an OpenSSH client's configuration, an Ansible inventory. Reads, runs nothing.

A file is not trusted: nothing in it is executed, sizes are bounded, and what it says of a machine becomes a device only
by way of `inventory.check_device`.
"""

import re
from getpass import getuser
from pathlib import Path
from typing import Literal

from edgekit.core.device import Device
from edgekit.core.noun import Noun
from edgekit.errors import UsageError

Format = Literal["ssh", "ansible-ini", "ansible-yaml"]

MOST_BYTES = 8 << 20
MOST_MACHINES = 10_000

_SSH = re.compile(r"^\s*(?:Host|Match|Include)(?:\s|=)", re.I | re.M)
_YAML = re.compile(r"^(?:---|[\w.-]+:)\s*(?:#.*)?$", re.M)


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


def read_machines(path: Path) -> tuple[Machine, ...]:
    """The machines that a file names, in its order, each name once.

    Raises: UsageError naming the file, the line and what is wrong.
    """
    from edgekit.devices.ansible_ini import ini_inventory
    from edgekit.devices.ansible_yaml import yaml_inventory
    from edgekit.devices.ssh_config import ssh_machines

    text = read_text(path)
    match format_of(path, text):
        case "ssh":
            found = ssh_machines(path)
        case "ansible-ini":
            found = ini_inventory(text, str(path)).machines()
        case "ansible-yaml":
            found = yaml_inventory(text, str(path)).machines()
    if not found:
        raise UsageError(f"{path}: names no machine (a Host of an ssh_config with a wildcard is none)")
    return found


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


def format_of(path: Path, text: str) -> Format:
    """What kind of file this is, by its suffix or its first lines.

    Raises: UsageError for a program, which is not run.

    >>> format_of(Path("config"), "Host pi5"), format_of(Path("hosts"), "[web]"), format_of(Path("h.yml"), "all:")
    ('ssh', 'ansible-ini', 'ansible-yaml')
    """
    if text.startswith("#!"):
        raise UsageError(
            f"{path}: is a program, and edgekit runs none: "
            f"`ansible-inventory -i {path.name} --list --yaml > hosts.yml` writes a file that can be read"
        )
    if path.suffix in (".yml", ".yaml"):
        return "ansible-yaml"
    if path.suffix == ".ini":
        return "ansible-ini"
    if _SSH.search(text):
        return "ssh"
    told = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return "ansible-yaml" if _YAML.match(told) else "ansible-ini"


def device_of(machine: Machine, *, root: str = ".edgekit", python: str = "python3") -> Device:
    """The device that a machine would be; nothing is asked of it, and its host keys are not known.

    >>> device_of(Machine(name="pi5", host="10.0.0.7", user="pi")).user
    'pi'
    """
    return Device(
        name=machine.name, host=machine.host, port=machine.port, user=machine.user or getuser(),
        identity=machine.identity, labels=machine.labels, root=root, python=python, jump=machine.jump,
    )  # fmt: skip


def port_of(text: str, where: str) -> int:
    """A port. Raises: UsageError.

    >>> port_of("2222", "hosts: line 3")
    2222
    """
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= 65535):
        raise UsageError(f"{where}: want a port, 1 to 65535, got {text[:60]!r}")
    return int(text)
