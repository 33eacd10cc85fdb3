"""Ansible's INI inventories: sections of hosts, of groups within groups, and of variables."""

import re
import shlex

from edgekit.devices.ansible import Inventory
from edgekit.errors import UsageError

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.*)")


def ini_inventory(text: str, where: str) -> Inventory:
    """The inventory in `text`.

    Raises: UsageError naming the line.

    >>> [m.host for m in ini_inventory("[web]\\nw[1:2] ansible_host=10.0.0.7", "hosts").machines()]
    ['10.0.0.7', '10.0.0.7']
    """
    found = Inventory(where)
    group, kind = "ungrouped", "hosts"
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.strip(), f"{where}: line {number}"
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section = _SECTION.fullmatch(line)
            if section is None or section[2] not in (None, "children", "vars"):
                raise UsageError(f"{place}: want [GROUP], [GROUP:children] or [GROUP:vars], got {line[:60]!r}")
            group, kind = section[1], section[2] or "hosts"
            found.group(group)
        elif kind == "hosts":
            _host(found, group, line, place)
        elif kind == "vars":
            found.group(group).variables.update([_variable(line, place)])
        else:
            child = line.partition("#")[0].strip()
            found.group(group).children[child] = None
            found.group(child)
    return found


def _host(found: Inventory, group: str, line: str, place: str) -> None:
    try:
        pattern, *rest = shlex.split(line, comments=True)
    except ValueError:
        raise UsageError(f"{place}: a quote that does not end in {line[:60]!r}") from None
    found.add(group, pattern, dict(_variable(word, place) for word in rest), place)


def _variable(text: str, place: str) -> tuple[str, str]:
    match = _VARIABLE.fullmatch(text)
    if match is None:
        raise UsageError(f"{place}: want key=value, got {text[:60]!r}")
    value = match[2].strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return match[1], value[1:-1] if quoted else value
