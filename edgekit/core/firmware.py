"""A firmware profile (an OS image as data), and the two pure functions over it: recognise and mismatches."""

import fnmatch

from edgekit.core.dpu import named
from edgekit.core.noun import Noun

Pairs = tuple[tuple[str, str], ...]


class Bootstrap(Noun, frozen=True, kw_only=True):
    """What a bare device needs before it can measure: pip requirement lines by runtime name."""

    python: str = "3.8"
    wheels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(runtime, requirements)"""
    platforms: tuple[str, ...] = ()
    """Wheel platform tags, newest first, for fetching on the host."""


class Steady(Noun, frozen=True, kw_only=True):
    """Commands (lists of words) before and after a measurement, and where temperatures are read."""

    before: tuple[tuple[str, ...], ...] = ()
    after: tuple[tuple[str, ...], ...] = ()
    thermal: str = "/sys/class/thermal"


class FirmwareProfile(Noun, frozen=True, kw_only=True):
    """One file of firmware_profiles/; `name` is its stem. `detect` pairs are (fact, glob) and all must match."""

    schema: int = 1
    name: str
    title: str
    arch: str
    detect: Pairs
    provides: Pairs = ()
    paths: Pairs = ()
    bootstrap: Bootstrap = Bootstrap()
    steady: Steady = Steady()


def recognise(facts: dict[str, str], profiles: tuple[FirmwareProfile, ...]) -> FirmwareProfile | None:
    """The profile whose `detect` facts all match, the one with the most of them first; None if there is none.

    >>> p = FirmwareProfile(name="d", title="D", arch="x86_64", detect=(("os_id", "debian"), ("os_version", "12*")))
    >>> recognise({"os_id": "debian", "os_version": "12"}, (p,)).name
    'd'
    >>> recognise({"os_id": "alpine"}, (p,)) is None
    True
    """
    matching = [p for p in profiles if all(fnmatch.fnmatchcase(facts.get(key, ""), glob) for key, glob in p.detect)]
    return max(matching, key=lambda p: (len(p.detect), p.name), default=None)


def mismatches(requires: Pairs, provides: Pairs) -> tuple[str, ...]:
    """Why a thing that `requires` this cannot run where `provides` holds, in words; empty if it can.

    A required version is a prefix by dots: "10.3" is met by "10.3.0", not by "10.30"; ">=14" is met by "14.6" and "15".

    >>> mismatches((("tensorrt", "10.3"),), (("tensorrt", "10.3.0"),))
    ()
    >>> mismatches((("tensorrt", "10.3"),), ())
    ('needs tensorrt 10.3, the device has none',)
    """
    have = dict(provides)
    missing = []
    for key, wanted in requires:
        got = have.get(key)
        if got is None:
            missing.append(f"needs {key} {wanted}, the device has none")
        elif not _meets(got, wanted):
            told = [named(text) if key == "dpu_fingerprint" else text for text in (wanted, got)]
            missing.append(f"needs {key} {told[0]}, the device has {told[1]}")
    return tuple(missing)


def _meets(got: str, wanted: str) -> bool:
    """Whether a version is the one wanted, one of its parts, or not older where it begins with ">=".

    >>> _meets("14.6", ">=14"), _meets("9.1", ">=14"), _meets("new", ">=14")
    (True, False, False)
    """
    if not wanted.startswith(">="):
        return got == wanted or got.startswith(wanted + ".")
    pairs = [tuple(int(part) for part in text.split(".") if part.isdigit()) for text in (got, wanted[2:])]
    return bool(pairs[0]) and pairs[0] >= pairs[1]
