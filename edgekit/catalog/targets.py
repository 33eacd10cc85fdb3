"""The targets: one file of targets/ each, named <format>-<hardware>[-variant]."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from edgekit.catalog.files import catalog_folder, read_folder
from edgekit.core.device import Facts
from edgekit.core.firmware import mismatches
from edgekit.core.target import Target
from edgekit.errors import TargetError, UsageError

TABLES = ("requires", "numerics.lacks")


def targets(folder: Path | None = None) -> tuple[Target, ...]:
    """All targets, by name; of `folder` instead of edgekit's own where one is given.

    Raises: TargetError naming the file and the key that is wrong.
    """
    try:
        return _read(folder or catalog_folder("targets"))
    except UsageError as error:
        raise TargetError(str(error)) from None


@lru_cache(maxsize=8)
def _read(folder: Path) -> tuple[Target, ...]:
    found = read_folder(folder, Target, TABLES)
    for target in found:
        if not target.name.startswith(f"{target.format}-"):
            raise UsageError(
                f"{folder / target.name}.toml: a target's name must begin with its format: {target.format}-…"
            )
    return found


def get_target(name: str, folder: Path | None = None) -> Target:
    """The target of that name.

    Raises: TargetError naming the nearest ones.
    """
    known = {target.name: target for target in targets(folder)}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
    raise TargetError(f"target {name!r}: there is none; nearest: {', '.join(near)} (`edgekit targets list` shows all)")


def default_target(
    facts: Facts,
    format: str = "onnx",  # noqa: A002
    among: Sequence[Target] | None = None,
) -> Target:
    """The target of `format` that a machine with these facts can run, the one that asks most of it.

    It is one of `among`, by default of all, and of those that are offered by default.

    Raises: TargetError if there is none, with what is missing, and what there is of other formats.
    """
    among = [target for target in (targets() if among is None else among) if target.offered == "by default"]
    of_format = [target for target in among if target.format == format]
    if not of_format:
        formats = sorted({target.format for target in among})
        raise TargetError(f"format {format!r}: no target has it; there are {', '.join(formats)}")
    fitting = fitting_targets(facts, among)
    if found := [target for target in fitting if target.format == format]:
        return max(found, key=lambda target: (len(target.requires), target.name))
    why = "; ".join(f"{t.name} {mismatches(t.requires, facts.provides())[0]}" for t in of_format)
    others = f"; of other formats there is {', '.join(t.name for t in fitting)}" if fitting else ""
    raise TargetError(f"no {format} target fits this {facts.arch} device: {why}{others}")


def fitting_targets(facts: Facts, among: Sequence[Target]) -> tuple[Target, ...]:
    """Those targets of `among` that a machine with these facts has all for, by name."""
    return tuple(target for target in among if not mismatches(target.requires, facts.provides()))
