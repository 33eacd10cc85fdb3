"""Wheels for another machine, fetched and unzipped on the host: nothing of that machine is run here."""

import gzip
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal, cast

from edgekit.core.noun import digest
from edgekit.devices.said import readable
from edgekit.errors import DeviceError, MissingExtraError, StoreError
from edgekit.store.home import home

FETCH_S = 900.0
OLD_TAGS = {"x86_64": ("manylinux_2_12", "manylinux2010", "manylinux_2_5", "manylinux1")}


def platform_tags(arch: str, libc: str) -> tuple[str, ...]:
    """The wheel tags that a glibc system takes, newest first; pip takes them literally, so all older ones are named.

    >>> platform_tags("aarch64", "glibc 2.19")
    ('manylinux_2_19_aarch64', 'manylinux_2_18_aarch64', 'manylinux_2_17_aarch64', 'manylinux2014_aarch64')
    >>> platform_tags("aarch64", "musl 1.2.4")
    ()
    """
    found = re.fullmatch(r"glibc 2\.(\d+)", libc)
    if found is None:
        return ()
    newer = tuple(f"manylinux_2_{minor}" for minor in range(int(found[1]), 16, -1))
    return tuple(f"{tag}_{arch}" for tag in (*newer, "manylinux2014", *OLD_TAGS.get(arch, ())))


def python_tag(version: str) -> str:
    """A Python's version as wheels and pip name it: major.minor.

    >>> python_tag("3.11.2")
    '3.11'
    """
    return ".".join(version.split(".")[:2])


Dependencies = Literal["fetched", "there"]
"""What is done about what a package needs besides: it is fetched too, or the device has it."""


def fetch_site(
    requirements: Sequence[str], platforms: Sequence[str], python: str, *,
    what: str, dependencies: Dependencies = "fetched",
) -> tuple[Path, int]:  # fmt: skip
    """A gzipped tar of a folder for PYTHONPATH with what `requirements` ask for, and that folder's size in bytes.

    Kept in edgekit's home, so that it is fetched once for many devices. `what` is for the error.

    Raises: DeviceError if there are no such wheels, or they cannot be fetched; MissingExtraError without pip;
    StoreError if they cannot be kept.
    """
    key = digest("site", tuple(requirements), tuple(platforms), python, dependencies)
    kept = home() / "runtimes" / f"{key[:32]}.tar.gz"
    note = kept.with_suffix(".size")
    try:
        if not (kept.is_file() and note.is_file()):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".fetch-") as scratch:
                size = _make(Path(scratch), requirements, platforms, python, dependencies, what)
                note.write_text(str(size))
                (Path(scratch) / "site.tar.gz").replace(kept)
        return kept, int(note.read_text())
    except OSError as error:
        if isinstance(error, DeviceError | StoreError):
            raise
        raise StoreError(f"{kept.parent}: cannot be written ({error.strerror or error})") from None


def _make(
    scratch: Path,
    requirements: Sequence[str],
    platforms: Sequence[str],
    python: str,
    dependencies: Dependencies,
    what: str,
) -> int:
    """Writes site.tar.gz in `scratch`; the bytes of what is in it."""
    tags = [word for tag in platforms for word in ("--platform", tag)]
    alike = ["--only-binary=:all:", *tags, "--python-version", python, "--implementation", "cp"]
    wheels, site = scratch / "wheels", scratch / "site"
    only_these = ["--no-deps"] if dependencies == "there" else []
    _pip(["download", *alike, *only_these, "--dest", str(wheels), *requirements], what)
    found = sorted(str(path) for path in wheels.glob("*.whl"))
    only_unzip = ["--no-index", "--no-deps", "--no-compile", "--target", str(site)]
    _pip(["install", *alike, *only_unzip, *found], what)
    return pack(site, scratch / "site.tar.gz")


def _pip(words: Sequence[str], what: str) -> None:
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "--quiet", *words]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=FETCH_S, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{what}: its wheels could not be fetched within {FETCH_S:g} s") from None
    if b"No module named pip" in done.stderr:
        raise MissingExtraError(f"{what}: this Python has no pip to fetch wheels with: `{sys.executable} -m ensurepip`")
    if done.returncode:
        errors = [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith("ERROR:")]
        said = readable(" ".join(errors[-1:]) or done.stderr)
        raise DeviceError(f"{what}: there are no wheels for it: {said}")


def pack(folder: Path, target: Path) -> int:
    """Writes a gzipped tar of `folder`, the same bytes for the same content; the bytes of the files in it."""
    size = 0
    with (
        target.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=cast(IO[bytes], packed), mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if not path.is_file() or name.parts[0] == "bin":
                continue
            entry = tarfile.TarInfo(f"./{name.as_posix()}")
            entry.size = path.stat().st_size
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            size += entry.size
            with path.open("rb") as file:
                tar.addfile(entry, file)
    return size
