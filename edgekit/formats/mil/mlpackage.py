"""A Core ML model on disk: a package as one plain zip with equal bytes for an equal model; reads folders and .mlmodel.

A package (.mlpackage) is a folder: Manifest.json, which names the model's specification, a protocol buffer, and beside
that its weights. Nothing is ever unpacked to be read, so paths inside a zip lead nowhere.
"""

import hashlib
import json
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, NamedTuple

from edgekit.errors import ArtifactError
from edgekit.models.extras import require

NAME, NETWORK = "model.mlpackage.zip", "model.mlmodel"
MOST_BYTES = 4 << 30
"""Of a package unpacked: what claims to be more is refused before it is read."""
_ROOT, _DATA, _AUTHOR = "model.mlpackage", "Data", "com.apple.CoreML"
_SPEC, _WEIGHTS = "model.mlmodel", "weights"
_MOMENT = (1980, 1, 1, 0, 0, 0)
_MESSAGES = "edgekit.formats.coremltools_proto"
_Read = Callable[[], bytes]


class Package(NamedTuple):
    """A model's specification (coremltools' Model_pb2.Model), and the file that a path in it means."""

    spec: Any
    file: Callable[[str], bytes]


def write_package(spec: Any, weights: Path | None, path: Path) -> None:
    """Writes a package with this specification and the files in the folder `weights` at `path`.

    Equal models give equal bytes: where the format wants random ids, they are made from the content.
    """
    content = spec.SerializeToString(deterministic=True)
    files = {f"{_AUTHOR}/{_SPEC}": content}
    for file in sorted(weights.iterdir()) if weights is not None and weights.is_dir() else ():
        files[f"{_AUTHOR}/{_WEIGHTS}/{file.name}"] = file.read_bytes()
    items = [(f"{_AUTHOR}/{_SPEC}", _SPEC, "CoreML Model Specification")]
    if len(files) > 1:
        items.append((f"{_AUTHOR}/{_WEIGHTS}", _WEIGHTS, "CoreML Model Weights"))
    entries = {
        _id(place, content): {"author": _AUTHOR, "description": about, "name": name, "path": place}
        for place, name, about in items
    }
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": next(iter(entries))}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, "Manifest.json", json.dumps(manifest, indent=4, sort_keys=True).encode())
        for name, data in files.items():
            _put(archive, f"{_DATA}/{name}", data)


def _id(place: str, content: bytes) -> str:
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{place} {digest}")).upper()


def _put(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(f"{_ROOT}/{name}", _MOMENT)
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    archive.writestr(entry, data)


def read_package(path: Path) -> Package:
    """The model at `path`: a package's folder, a zip of one, or a .mlmodel file.

    Raises: ArtifactError if it is none of them.
    """
    try:
        if path.is_dir():
            return _packed({p.relative_to(path).as_posix(): p.read_bytes for p in _plain_files(path)}, path)
        if path.suffix == ".mlmodel":
            return Package(_spec(path.read_bytes(), path), _no_file(path))
        with zipfile.ZipFile(path) as archive:
            return _packed(_members(archive, path), path)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ArtifactError(f"{path.name}: cannot be read as a Core ML package: {error}") from None


def _plain_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, _Read]:
    """What is in the package inside a zip: it may lie in a folder there."""
    entries = {entry.filename: entry for entry in archive.infolist()}
    if (size := sum(entry.file_size for entry in entries.values())) > MOST_BYTES:
        raise ArtifactError(f"{path.name}: claims {size >> 20} MiB unpacked: at most {MOST_BYTES >> 20} are read")
    content = {name: archive.read(entry) for name, entry in entries.items() if not entry.is_dir()}
    roots = sorted((name for name in content if PurePosixPath(name).name == "Manifest.json"), key=len)
    head = roots[0].removesuffix("Manifest.json") if roots else ""
    return {name.removeprefix(head): _given(data) for name, data in content.items() if name.startswith(head)}


def _given(data: bytes) -> _Read:
    return lambda: data


def _packed(files: Mapping[str, _Read], path: Path) -> Package:
    if "Manifest.json" not in files:
        raise ArtifactError(f"{path.name}: no Core ML package: it has no Manifest.json")
    try:
        manifest = json.loads(files["Manifest.json"]())
        place = f"{_DATA}/{manifest['itemInfoEntries'][manifest['rootModelIdentifier']]['path']}"
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path.name}: its Manifest.json names no model ({type(error).__name__}: {error})"
        ) from None
    if place not in files:
        raise ArtifactError(f"{path.name}: its Manifest.json names {place!r}, which is not there")
    folder = PurePosixPath(place).parent

    def file(said: str) -> bytes:
        name = str(folder / said.removeprefix("@model_path/"))
        if name not in files:
            raise ArtifactError(f"{path.name}: its model names the file {said!r}, which is not there")
        return files[name]()

    return Package(_spec(files[place](), path), file)


def _spec(content: bytes, path: Path) -> Any:
    spec = _messages().Model()
    try:
        spec.ParseFromString(content)
    except Exception as error:  # noqa: BLE001  protobuf's own kinds differ by its version
        raise ArtifactError(f"{path.name}: its model is no Core ML specification: {error}") from None
    if spec.WhichOneof("Type") is None:
        raise ArtifactError(f"{path.name}: its model is no Core ML specification: it has no type")
    return spec


def _messages() -> Any:
    """coremltools' messages alone, without coremltools, which takes ten seconds to import.

    Raises: MissingExtraError.
    """
    found = find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        return require("coremltools.proto.Model_pb2", extra="coreml")
    if _MESSAGES not in sys.modules:
        package = ModuleType(_MESSAGES)
        package.__path__ = [str(Path(place) / "proto") for place in found.submodule_search_locations]
        sys.modules[_MESSAGES] = package
    return import_module(f"{_MESSAGES}.Model_pb2")


def _no_file(path: Path) -> Callable[[str], bytes]:
    def file(said: str) -> bytes:
        raise ArtifactError(f"{path.name}: its model names the file {said!r}, and a .mlmodel has none beside it")

    return file
