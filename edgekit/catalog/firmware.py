"""The firmware profiles: one file of firmware_profiles/ each, an OS image as data."""

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from edgekit.catalog.files import catalog_folder, read_folder
from edgekit.core.device import Facts
from edgekit.core.firmware import FirmwareProfile, recognise
from edgekit.errors import UsageError

TABLES = ("detect", "provides", "paths", "bootstrap.wheels")


def profiles(folder: Path | None = None) -> tuple[FirmwareProfile, ...]:
    """All profiles, by name; of `folder` instead of edgekit's own where one is given.

    Raises: UsageError naming the file and the key that is wrong.
    """
    return _read(folder or catalog_folder("firmware_profiles"))


@lru_cache(maxsize=8)
def _read(folder: Path) -> tuple[FirmwareProfile, ...]:
    return read_folder(folder, FirmwareProfile, TABLES)


def get_profile(name: str, folder: Path | None = None) -> FirmwareProfile:
    """The profile of that name.

    Raises: UsageError naming the nearest ones.
    """
    known = {profile.name: profile for profile in profiles(folder)}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(known)
    raise UsageError(f"firmware {name!r}: there is no such profile; nearest: {', '.join(near)}")


def firmware_of(facts: Facts, folder: Path | None = None) -> FirmwareProfile | None:
    """The profile of the OS image that a machine with these facts runs; None if it is not known."""
    return recognise(detectable(facts), profiles(folder))


def detectable(facts: Facts) -> dict[str, str]:
    """What a profile may name in `detect`, of a machine with these facts."""
    return {
        "arch": facts.arch,
        "os_id": facts.os_id,
        "os_version": facts.os_version,
        "kernel": facts.kernel,
        "libc": facts.libc,
        "cpu": facts.cpu,
        "board": facts.board or "",
        "l4t": facts.l4t or "",
        "termux": "yes" if facts.termux else "",
    }
