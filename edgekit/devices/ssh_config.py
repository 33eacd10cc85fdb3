"""What an OpenSSH client's configuration says of the machines that it names; the words are those of ssh_config(5).

Read here, and not by paramiko: that leaves Include out, and runs the commands of `Match exec`.
"""

import glob
import re
import shlex
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from getpass import getuser
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgekit.devices.machine import MOST_MACHINES, Machine, port_of, read_text
from edgekit.errors import UsageError

DEEPEST = 16
"""Files that include each other."""

KNOWN = ("hostname", "port", "user", "identityfile", "proxyjump", "proxycommand")
_HOP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>[^@:,/]+)(?::(?P<port>\d{1,5}))?")
_WORD = re.compile(r"\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*)")


class Line(NamedTuple):
    """One setting; `blocks` are the Host and Match lines that it is below, the outermost first."""

    where: str
    key: str
    words: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[str, ...]], ...]


def ssh_machines(path: Path) -> tuple[Machine, ...]:
    """The hosts that a configuration names without a wildcard, each as `ssh NAME` would reach it.

    Raises: UsageError naming the file and the line.
    """
    lines = tuple(_lines(path, (), 0))
    names = (name for line in lines if line.key == "host" for name in line.words if not set(name) & set("*?!"))
    found = dict.fromkeys(names)
    if len(found) > MOST_MACHINES:
        raise UsageError(f"{path}: names more than {MOST_MACHINES:,} machines")
    machines = {name: _machine(name, lines) for name in found}
    return tuple(_by_way(machine, machines) for machine in machines.values())


def _lines(path: Path, outer: tuple[tuple[str, tuple[str, ...]], ...], depth: int) -> Iterator[Line]:
    """The settings of a file and of those it includes, in the order in which ssh reads them."""
    if depth > DEEPEST:
        raise UsageError(f"{path}: more than {DEEPEST} files that include each other")
    blocks = outer
    for number, text in enumerate(read_text(path).splitlines(), 1):
        where = f"{path}: line {number}"
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        key, words = _setting(text, where)
        if key == "include":
            for included in _included(path, words):
                yield from _lines(included, blocks, depth + 1)
            continue
        if key in ("host", "match"):
            blocks = (*outer, (key, words))
        yield Line(where, key, words, blocks)


def _setting(text: str, where: str) -> tuple[str, tuple[str, ...]]:
    match = _WORD.fullmatch(text.rstrip())
    if match is None:
        raise UsageError(f"{where}: want a keyword and a value, got {text.strip()[:60]!r}")
    key = match[1].lower()
    if key not in (*KNOWN, "host", "match", "include"):
        return key, ()
    if key == "proxycommand":
        return key, (match[2],)
    try:
        words = shlex.split(match[2], comments=True)
    except ValueError:
        raise UsageError(f"{where}: a quote that does not end in {text.strip()[:60]!r}") from None
    if not words:
        raise UsageError(f"{where}: want a value after {match[1]}")
    return key, tuple(words)


def _included(path: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """The files of an Include line; a relative one is beside the file that names it, which for a user's is ~/.ssh."""
    for pattern in patterns:
        there = path.parent / Path(pattern).expanduser()
        yield from (found for found in map(Path, sorted(glob.glob(str(there)))) if found.is_file())  # noqa: PTH207


def _machine(name: str, lines: Sequence[Line]) -> Machine:
    """The first value of each setting whose blocks are all for `name`, as ssh has it."""
    said: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in lines:
        if line.key in KNOWN and line.key not in said and all(_is_for(name, *block) for block in line.blocks):
            said[line.key] = (line.where, line.words)

    def one(key: str, default: str) -> str:
        return said[key][1][0] if key in said else default

    user = one("user", "")
    return Machine(
        name=name, host=one("hostname", name).replace("%h", name).replace("%%", "%"),
        port=port_of(one("port", "22"), said["port"][0] if "port" in said else name),
        user=user, identity=_identity(one("identityfile", "none"), name, user),
        jump=_jump(said), problem=_problem(said),
    )  # fmt: skip


def _jump(said: dict[str, tuple[str, tuple[str, ...]]]) -> str | None:
    """The text of ProxyJump, which ssh prefers to a ProxyCommand that comes later in the file."""
    text = " ".join(said["proxyjump"][1]) if "proxyjump" in said else "none"
    return None if text.lower() == "none" else text


def _by_way(machine: Machine, machines: dict[str, Machine]) -> Machine:
    """The machine with the name of the one that it is reached through, if that is in the file too."""
    if machine.jump is None:
        return machine
    hop = machines.get(machine.jump)
    if hop is None and (way := _HOP.fullmatch(machine.jump)) is not None:
        where = (way["user"], way["host"], int(way["port"] or 22))
        hop = next((m for m in machines.values() if where in ((m.user, m.host, m.port), (None, m.host, m.port))), None)
    if hop is None:
        why = (
            f"is reached by way of {machine.jump[:80]!r}, which is no Host of this file: give it a Host line of its own"
        )
    elif _leads_back(hop, machines):
        why = f"is reached by way of {hop.name}, and that in the end by way of itself"
    else:
        return msgspec.structs.replace(machine, jump=hop.name)
    return msgspec.structs.replace(machine, jump=None, problem=machine.problem or why)


def _leads_back(hop: Machine, machines: dict[str, Machine]) -> bool:
    seen: set[str] = set()
    at: Machine | None = hop
    while at is not None:
        if at.name in seen:
            return True
        seen.add(at.name)
        at = machines.get(at.jump) if at.jump is not None else None
    return False


def _is_for(name: str, kind: str, patterns: tuple[str, ...]) -> bool:
    """Whether a Host or Match line is about `name`. What a Match line would have to find out elsewhere is not."""
    if kind == "host":
        return _any_of(name, patterns)
    if patterns == ("all",):
        return True
    about = dict(zip(patterns[::2], patterns[1::2], strict=False))
    if len(patterns) % 2 or not set(about) <= {"host", "originalhost"}:
        return False
    return all(_any_of(name, value.split(",")) for value in about.values())


def _any_of(name: str, patterns: Sequence[str]) -> bool:
    """As ssh_config(5), PATTERNS: one that is negated and fits rules out all others."""
    if any(p.startswith("!") and _fits(name, p[1:]) for p in patterns):
        return False
    return any(not p.startswith("!") and _fits(name, p) for p in patterns)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name.lower(), pattern.lower().replace("[", "[[]"))


def _identity(text: str, name: str, user: str) -> str | None:
    if text.lower() == "none":
        return None
    tokens = {"%d": str(Path.home()), "%h": name, "%n": name, "%r": user or getuser(), "%u": getuser(), "%%": "%"}
    filled = re.sub(r"%.", lambda found: tokens.get(found[0], found[0]), text)
    return str(Path(filled).expanduser().absolute())


def _problem(said: dict[str, tuple[str, tuple[str, ...]]]) -> str | None:
    if _jump(said) is None and "proxycommand" in said and said["proxycommand"][1][0].lower() != "none":
        where, words = said["proxycommand"]
        return f"is reached by a command (ProxyCommand {words[0][:80]}, {where}), and edgekit runs none"
    return None
