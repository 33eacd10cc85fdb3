"""What `edgekit doctor` looks at on this computer. Nothing heavy is imported: versions are read from metadata."""

import platform
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Literal

import edgekit
from edgekit.catalog import targets
from edgekit.core.noun import Noun
from edgekit.errors import EdgekitError, StoreError
from edgekit.formats.compilers import COMPILERS, UserCompiler
from edgekit.formats.names import BUILT_THERE, extra_of
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.home import artifacts_folder, home, ledger_url
from edgekit.store.ledger import Ledger

EXTRAS = {
    "compress": ("torch", "torchao", "safetensors"),
    "onnx": ("onnx", "onnx-ir", "onnxruntime", "onnxscript"),
    "tflite": ("litert-torch", "ai-edge-litert"),
    "coreml": ("coremltools",),
}
"""The packages of each extra, beside those of `compress`, which each format needs too."""

LITTLE_ROOM_BYTES = 1 << 30


class Check(Noun, frozen=True, kw_only=True):
    """One thing looked at: `missing` is what can be done without, `bad` what cannot; `fix` gets it."""

    what: str
    state: Literal["ok", "missing", "bad"]
    found: str
    fix: str = ""


def host_checks() -> tuple[Check, ...]:
    """What this computer has, can build and keeps."""
    return (
        _edgekit(),
        *(_extra(name) for name in EXTRAS),
        *_formats(),
        *map(compiler_check, COMPILERS.values()),
        _home(),
        _ledger(),
    )


def _edgekit() -> Check:
    return Check(what="edgekit", state="ok", found=f"{edgekit.__version__}, Python {platform.python_version()}")


def package_versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The version of each package that is installed, None of those that are not."""
    found: dict[str, str | None] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _extra(name: str) -> Check:
    found = package_versions(EXTRAS[name])
    lacking = [package for package, number in found.items() if number is None]
    if lacking:
        fix = f"pip install 'edgekit[{name}]'"
        return Check(what=f"extra {name}", state="missing", found=f"no {', '.join(lacking)}", fix=fix)
    return Check(what=f"extra {name}", state="ok", found=", ".join(f"{p} {n}" for p, n in found.items()))


def _formats() -> Iterable[Check]:
    by_name: dict[str, list[str]] = {}
    for entry in entry_points(group="edgekit.formats"):
        by_name.setdefault(entry.name, []).append(entry.value)
    if not by_name:
        yield Check(
            what="formats", state="bad", found="none is registered", fix="pip install --force-reinstall edgekit"
        )
    for name, values in sorted(by_name.items()):
        if len(set(values)) > 1:
            fix = "uninstall all but one of the packages that offer it"
            yield Check(what=f"format {name}", state="bad", found=f"offered by {' and '.join(values)}", fix=fix)
            continue
        yield _format(name)


def _format(name: str) -> Check:
    usable = " ".join(t.name for t in targets() if t.format == name) or "no target"
    if any(number is None for number in package_versions(packages_of(name)).values()):
        fix = f"pip install 'edgekit[{extra_of(name)}]'"
        return Check(what=f"format {name}", state="missing", found="cannot be built here", fix=fix)
    return Check(what=f"format {name}", state="ok", found=f"builds for {usable}")


def packages_of(name: str) -> tuple[str, ...]:
    """What has to be installed to build for the format called `name`."""
    return (*EXTRAS["compress"], *EXTRAS.get("onnx" if name in BUILT_THERE else name, ()))


def compiler_check(compiler: UserCompiler) -> Check:
    """Whether a compiler of the user's is here."""
    found = compiler.find()
    if found is None:
        lacks = f"not on the PATH: no {compiler.makes} can be made here"
        return Check(what=compiler.program, state="missing", found=lacks, fix=compiler.get_it)
    return Check(what=compiler.program, state="ok", found=str(found))


def _home() -> Check:
    try:
        folder = home()
        free = shutil.disk_usage(folder).free
    except (EdgekitError, OSError) as error:
        return Check(what="store", state="bad", found=str(error), fix="set EDGEKIT_HOME to a folder with room")
    count = len(ArtifactStore(artifacts_folder()).artifacts())
    found = f"{folder}: {count} artifacts, {free / 2**30:.1f} GiB free"
    if free < LITTLE_ROOM_BYTES:
        return Check(what="store", state="missing", found=found, fix="edgekit gc, or set EDGEKIT_HOME elsewhere")
    return Check(what="store", state="ok", found=found)


def _ledger() -> Check:
    try:
        with Ledger(ledger_url()) as ledger:
            wrong = ledger.check()
            count = len(ledger.studies())
    except StoreError as error:
        return Check(what="ledger", state="bad", found=str(error), fix="see the message")
    if wrong:
        fix = "restore it from a backup, or move it away to begin a new one"
        return Check(what="ledger", state="bad", found=wrong[0], fix=fix)
    return Check(what="ledger", state="ok", found=f"sound, {count} studies")
