"""An Ansible inventory as it was read: hosts, groups and variables; and the machines that these are."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path

from edgekit.devices.machine import MOST_MACHINES, Machine, port_of
from edgekit.errors import UsageError

WHAT = {
    "host": ("ansible_host", "ansible_ssh_host"),
    "port": ("ansible_port", "ansible_ssh_port"),
    "user": ("ansible_user", "ansible_ssh_user"),
    "identity": ("ansible_ssh_private_key_file", "ansible_private_key_file"),
    "connection": ("ansible_connection",),
    "arguments": ("ansible_ssh_common_args", "ansible_ssh_extra_args"),
}
"""What is read of a host's variables, and by which names, the first of which wins."""

SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.netcommon.libssh")
MOST_GROUPS = 2_000
EVERY = "all"
NO_LABEL = (EVERY, "ungrouped")
_LABEL = re.compile(r"[A-Za-z0-9._-]{1,58}")
_RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")
_PORT = re.compile(r"([^:\[\]]+):([0-9]+)|\[([^\]]+)\]:([0-9]+)")

Variables = dict[str, str]


@dataclass
class Group:
    """Hosts, and groups within."""

    hosts: dict[str, None] = field(default_factory=dict)
    children: dict[str, None] = field(default_factory=dict)
    variables: Variables = field(default_factory=dict)


@dataclass
class Inventory:
    """What a file says; filled by its reader. `where` names it in errors."""

    where: str
    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Variables] = field(default_factory=dict)

    def group(self, name: str) -> Group:
        """The group of that name, new if there was none."""
        return self.groups.setdefault(name, Group())

    def add(self, group: str, pattern: str, variables: Mapping[str, str], where: str) -> None:
        """Puts the hosts of a pattern, like web[01:10], into a group. Raises: UsageError."""
        pattern, port = split_port(pattern)
        for name in expanded(pattern, where):
            self.group(group).hosts[name] = None
            self.hosts.setdefault(name, {}).update({"ansible_port": port} if port else {}, **variables)
            if len(self.hosts) > MOST_MACHINES:
                raise UsageError(f"{where}: more than {MOST_MACHINES:,} machines")

    def machines(self) -> tuple[Machine, ...]:
        """The hosts as machines, in the file's order; a group is the label group-NAME=yes.

        A host's own variables win over those of its groups, a group's over those of the groups around it.

        Raises: UsageError.
        """
        around = self._around()
        return tuple(self._machine(name, around) for name in self.hosts)

    def _around(self) -> dict[str, list[str]]:
        """For each host its groups, the outermost first: by their depth, then by name, as Ansible merges them."""
        if len(self.groups) > MOST_GROUPS:
            raise UsageError(f"{self.where}: more than {MOST_GROUPS:,} groups")
        depths, parents = self._depths(), dict[str, set[str]]()
        for name, group in self.groups.items():
            for child in group.children:
                parents.setdefault(child, set()).add(name)
        found: dict[str, set[str]] = {name: {EVERY} for name in self.hosts}
        for name, group in self.groups.items():
            within = _outwards(name, parents)
            for host in group.hosts:
                found[host] |= within
        return {host: sorted(names, key=lambda n: (depths.get(n, 0), n)) for host, names in found.items()}

    def _depths(self) -> dict[str, int]:
        """How deep each group lies; at most as deep as there are groups."""
        depths = {name: 0 if name == EVERY else 1 for name in self.groups}
        for _ in range(len(self.groups) + 1):
            before = dict(depths)
            for name, group in self.groups.items():
                for child in group.children:
                    depths[child] = max(depths.get(child, 1), depths[name] + 1)
            if depths == before:
                return depths
        raise UsageError(f"{self.where}: a group is within itself")

    def _machine(self, name: str, around: Mapping[str, list[str]]) -> Machine:
        groups = around[name]
        known: Variables = {}
        for group in groups:
            known |= self.groups[group].variables if group in self.groups else {}
        known |= self.hosts[name]
        said = {what: next((known[key] for key in keys if key in known), "") for what, keys in WHAT.items()}
        where = f"{self.where}: host {name[:64]}"
        problem = _problem(said)
        identity = said["identity"]
        return Machine(
            name=name, host=said["host"] or name, user=said["user"],
            port=port_of(said["port"], where) if said["port"] and problem is None else 22,
            identity=str(Path(identity).expanduser().absolute()) if identity else None,
            labels=tuple((f"group-{g}", "yes") for g in sorted(groups) if g not in NO_LABEL and _LABEL.fullmatch(g)),
            problem=problem,
        )  # fmt: skip


def _outwards(name: str, parents: Mapping[str, set[str]]) -> set[str]:
    """A group and all those around it."""
    found, todo = {name}, [name]
    while todo:
        new = parents.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return found


def _problem(said: Mapping[str, str]) -> str | None:
    """Why a host cannot be reached as its variables say."""
    if template := next((value for value in said.values() if "{{" in value), None):
        return f"has a template for a value ({template[:60]}): `ansible-inventory --list --yaml` may fill it in"
    if said["connection"] and said["connection"] not in SSH:
        return f"is not reached over SSH (ansible_connection {said['connection'][:60]})"
    if re.search(r"Proxy(?:Jump|Command)|-J", said["arguments"]):
        return f"is reached by way of another (ansible_ssh_common_args {said['arguments'][:60]})"
    return None


def split_port(pattern: str) -> tuple[str, str]:
    """A host as an inventory has it, and the port behind it, if there is one.

    >>> split_port("web.example:2222"), split_port("web[01:10]"), split_port("[fe80::1]:22")
    (('web.example', '2222'), ('web[01:10]', ''), ('fe80::1', '22'))
    """
    match = _PORT.fullmatch(pattern)
    if match is None:
        return pattern, ""
    return match[1] or match[3], match[2] or match[4]


def expanded(pattern: str, where: str) -> Iterator[str]:
    """The names of a pattern with ranges.

    Raises: UsageError for a range that is none, or too many names.

    >>> list(expanded("web[01:03]-[a:b]", "hosts"))
    ['web01-a', 'web01-b', 'web02-a', 'web02-b', 'web03-a', 'web03-b']
    """
    if set(_RANGE.sub("", pattern)) & set("[]"):
        raise _no_range(pattern, where)
    parts: list[Sequence[str]] = []
    end = 0
    for found in _RANGE.finditer(pattern):
        parts += [(pattern[end : found.start()],), _values(found, where)]
        end = found.end()
    if prod(map(len, parts)) > MOST_MACHINES:
        raise UsageError(f"{where}: more than {MOST_MACHINES:,} machines")
    return ("".join(names) for names in product(*parts, (pattern[end:],)))


def _values(found: re.Match[str], where: str) -> Sequence[str]:
    first, last, step = found[1], found[2], int((found[3] or "1")[:9])
    if first.isdigit() != last.isdigit() or step < 1 or max(len(first), len(last)) > 9:
        raise _no_range(found[0], where)
    if first.isdigit():
        numbers, width = range(int(first), int(last) + 1, step), len(first) if first.startswith("0") else 0
        values: Sequence[str] = [str(n).zfill(width) for n in numbers[: MOST_MACHINES + 1]]
    else:
        values = [chr(code) for code in range(ord(first), ord(last) + 1, step)]
    if not values:
        raise _no_range(found[0], where)
    return values


def _no_range(text: str, where: str) -> UsageError:
    return UsageError(f"{where}: want a range like [01:10] or [a:f], got {text[:60]!r}")
