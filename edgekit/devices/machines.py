"""Machines that other tools' files name: an OpenSSH client's configuration, an Ansible inventory. Reads, runs nothing.

A file is not trusted: nothing in it is executed, sizes are bounded, and what it says of a machine becomes a device only
by way of `inventory.check_device`.
"""

import re
from pathlib import Path
from typing import Literal

from edgekit.devices.ansible_ini import ini_inventory
from edgekit.devices.machine import Machine, read_text
from edgekit.devices.ssh_config import ssh_machines
from edgekit.errors import UsageError

Format = Literal["ssh", "ansible-ini", "ansible-yaml"]

_SSH = re.compile(r"^\s*(?:Host|Match|Include)(?:\s|=)", re.I | re.M)
_YAML = re.compile(r"^(?:---|[\w.-]+:)\s*(?:#.*)?$", re.M)


def read_machines(path: Path) -> tuple[Machine, ...]:
    """The machines that a file names, in its order, each name once.

    Raises: UsageError naming the file, the line and what is wrong.
    """
    from edgekit.devices.ansible_yaml import yaml_inventory

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
