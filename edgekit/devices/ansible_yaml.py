"""Ansible's YAML inventories, and what `ansible-inventory --list --yaml` writes of any other."""

from typing import Any

import yaml

from edgekit.devices.ansible import MOST_GROUPS, Inventory
from edgekit.errors import UsageError

DEEPEST = 32
"""Groups within groups."""


MOST_MERGED = 100_000
"""Pairs of one table that come of merging others into it, which a few lines can double again and again."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML's plain values; what has a tag of Ansible's own, like !vault, is None: no secret is read."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """As YAML's merge keys are; bounded."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_MERGED:
            raise yaml.constructor.ConstructorError(None, None, "too much is merged", node.start_mark)


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def yaml_inventory(text: str, where: str) -> Inventory:
    """The inventory in `text`.

    Raises: UsageError naming the line, or the path to what is wrong.

    >>> found = yaml_inventory("{all: {children: {web: {hosts: {w1: {ansible_host: 10.0.0.7}}}}}}", "hosts.yml")
    >>> found.machines()[0].labels
    (('group-web', 'yes'),)
    """
    try:
        tree = yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}: line {mark.line + 1}" if mark else where
        raise UsageError(f"{place}: {getattr(error, 'problem', None) or error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: cannot be read ({error})") from None
    if isinstance(tree, dict) and "_meta" in tree:
        raise UsageError(f"{where}: is the list of `ansible-inventory --list`; add --yaml to it")
    found, seen = Inventory(where), set[tuple[str, int]]()
    for name, body in _table(tree, where).items():
        _group(found, _name(name, where), body, (where, str(name)[:64]), seen)
    return found


def _group(found: Inventory, name: str, body: Any, path: tuple[str, ...], seen: set[tuple[str, int]]) -> None:
    """Takes a group and those within; a table that a file names again and again (*alias) is `seen` once a group."""
    if (name, id(body)) in seen and body is not None:
        return
    seen.add((name, id(body)))
    at = f"{path[0]}: {'.'.join(path[1:])}"
    if len(path) > DEEPEST + 1 or len(found.groups) > MOST_GROUPS:
        raise UsageError(f"{path[0]}: more than {DEEPEST} groups within each other, or {MOST_GROUPS:,} in all")
    parts = _table(body, at)
    group = found.group(name)
    group.variables |= _variables(parts.get("vars"), f"{at}.vars")
    for pattern, variables in _table(parts.get("hosts"), f"{at}.hosts").items():
        place = f"{at}.hosts.{str(pattern)[:64]}"
        found.add(name, _name(pattern, place), _variables(variables, place), place)
    for child, inner in _table(parts.get("children"), f"{at}.children").items():
        group.children[_name(child, at)] = None
        _group(found, _name(child, at), inner, (*path, str(child)[:64]), seen)


def _table(value: Any, at: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{at}: want a table of names, got {_short(value)}")
    return value


def _name(value: Any, at: str) -> str:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise UsageError(f"{at}: want a name, got {_short(value)}")
    return str(value)


def _short(value: Any) -> str:
    """A value for a message; of what may hold others, and those others, only its type."""
    return f"{value!r:.60}" if isinstance(value, str | int | float) else type(value).__name__


def _variables(value: Any, at: str) -> dict[str, str]:
    """The variables that are plain values, as text."""
    return {
        str(key): str(plain)
        for key, plain in _table(value, at).items()
        if isinstance(plain, str | int) and not isinstance(plain, bool)
    }
