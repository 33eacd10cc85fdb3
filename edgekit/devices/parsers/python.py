"""What ondevice/probe.py says."""

import re

import msgspec

from edgekit.core.noun import Noun
from edgekit.devices.parsers.system import parse_libc


class SaidByPython(Noun, frozen=True, kw_only=True):
    """What ondevice/probe.py says: Python's version, the C library it is linked with, (package, version) pairs."""

    version: str | None = None
    libc: str = ""
    packages: tuple[tuple[str, str], ...] = ()


def parse_python(text: str) -> SaidByPython:
    """What ondevice/probe.py says; nothing, if what runs is no Python.

    >>> parse_python('@python {"python": "3.11.2", "libc": "glibc 2.36", "packages": {"numpy": "2.3.5"}}')
    SaidByPython(version='3.11.2', libc='glibc 2.36', packages=(('numpy', '2.3.5'),))
    """
    line = next((line for line in text.splitlines() if line.startswith("@python ")), "@python {}")
    try:
        said = msgspec.json.decode(line.removeprefix("@python "), type=_Said)
    except (msgspec.DecodeError, RecursionError):
        return SaidByPython()
    if not _VERSION.fullmatch(said.python):
        return SaidByPython()
    packages = tuple(sorted((name, version) for name, version in said.packages.items() if _VERSION.fullmatch(version)))
    return SaidByPython(version=said.python, libc=parse_libc(said.libc), packages=packages)


_VERSION = re.compile(r"[0-9]{1,8}(\.[0-9]{1,8}){0,5}[\w.+-]{0,60}")


class _Said(msgspec.Struct):
    python: str = ""
    libc: str = ""
    packages: dict[str, str] = {}
