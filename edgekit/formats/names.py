"""Which back ends are installed, by name; none of them is loaded."""

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from edgekit.errors import TargetError

GROUP = "edgekit.formats"
BUILT_THERE = frozenset({"tensorrt", "vitis_ai"})
"""Formats of what another program builds: the file that it is built from is one of ONNX, and ends so."""
_ENDINGS = {"coreml": ("mlpackage.zip", "mlmodel")}
"""The endings of a format's files, where that is not its name."""
EXTRAS = {"vitis_ai": "vitis"}
"""The extra of each format whose extra has another name than itself."""


@cache
def format_entries() -> dict[str, Any]:
    """The entry point of each back end, by the name of its format.

    Raises: TargetError if two packages offer one.
    """
    found: dict[str, Any] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in found and found[entry.name].value != entry.value:
            raise TargetError(f"format {entry.name} is registered twice: {found[entry.name].value} and {entry.value}")
        found[entry.name] = entry
    return found


def format_names() -> tuple[str, ...]:
    """The formats that are installed, by name."""
    return tuple(sorted(format_entries()))


def extra_of(name: str) -> str:
    """The extra that installs what the format called `name` needs.

    >>> extra_of("vitis_ai"), extra_of("onnx")
    ('vitis', 'onnx')
    """
    return EXTRAS.get(name, name)


def file_endings() -> tuple[str, ...]:
    """The endings by which a model file is known.

    >>> "tensorrt" in file_endings()
    False
    """
    return tuple(ending for name in format_names() if name not in BUILT_THERE for ending in _ENDINGS.get(name, (name,)))


def format_of(file_name: str) -> str | None:
    """The format of a model file, by the ending of its name; None if none is known by it.

    >>> format_of("net.onnx"), format_of("net.mlpackage.zip"), format_of("notes.zip"), format_of("onnx")
    ('onnx', 'coreml', None, None)
    >>> format_of("net.mlmodel")
    'coreml'
    """
    for name in format_names():
        if name not in BUILT_THERE and file_name.endswith(
            tuple(f".{ending}" for ending in _ENDINGS.get(name, (name,)))
        ):
            return name
    return None
