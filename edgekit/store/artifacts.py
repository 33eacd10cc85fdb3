"""The artifact store: folders of files, each known by the sha256 of its content.

artifacts/content/<id>/artifact.json, model file, vectors …, layer values
artifacts/keys/<key>.json        what was made from `key`: the artifact as its maker described it
artifacts/incoming/<random>/     being copied; renamed when whole
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Set
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath

import msgspec

from edgekit.core.artifact import ARTIFACT_SCHEMA, Artifact, FileEntry, content_id
from edgekit.core.noun import check_schema, from_json, to_json
from edgekit.errors import ArtifactError, UsageError
from edgekit.store.files import copy_flushed, folder_bytes, remove_tree, sha256_of, sync, write_whole, writing

DESCRIPTION = "artifact.json"
SHORTEST_PREFIX = 4


def read_artifact(folder: Path) -> Artifact:
    """What `folder`'s artifact.json says; its files are not read (`check_files` does).

    Raises: ArtifactError if it is missing, of a newer schema, or names a file outside the folder.
    """
    where = folder / DESCRIPTION
    try:
        artifact = from_json(where.read_bytes(), Artifact, str(where))
        check_schema(artifact.schema, ARTIFACT_SCHEMA, str(where))
    except OSError as error:
        raise ArtifactError(f"{folder}: no artifact here, {DESCRIPTION} cannot be read ({error.strerror})") from None
    except UsageError as error:
        raise ArtifactError(str(error)) from None
    for entry in (*artifact.files, *((artifact.layers,) if artifact.layers else ())):
        _check_path(entry, where)
    if artifact.model_file not in {entry.path for entry in artifact.files}:
        raise ArtifactError(f"{where}: model_file must be one of its files, got {artifact.model_file!r}")
    return artifact


def check_files(artifact: Artifact, folder: Path) -> None:
    """Return if every file of `artifact` is in `folder` as it was made.

    Raises: ArtifactError naming the file that is missing or damaged.
    """
    for entry in artifact.files:
        path = folder / entry.path
        if path.is_symlink() or not path.is_file():
            raise ArtifactError(f"{path}: missing from artifact {artifact.id[:12]}: make it again")
        found = sha256_of(path)
        if found != entry.sha256:
            raise ArtifactError(
                f"{path}: damaged: want sha256 {entry.sha256[:12]}…, got {found[:12]}…: make artifact "
                f"{artifact.id[:12]} again"
            )
    if content_id(artifact.files) != artifact.id:
        raise ArtifactError(f"{folder}: id {artifact.id[:12]} is not that of its files: make it again")


def _check_path(entry: FileEntry, where: Path) -> None:
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.path or str(path) in {".", DESCRIPTION}:
        raise ArtifactError(f"{where}: a file's path must stay inside the folder, got {entry.path!r}")


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a gc removed: ids of artifacts, leftovers of interrupted work, bytes in all."""

    artifacts: tuple[str, ...]
    leftovers: int
    bytes_freed: int


class ArtifactStore:
    """Artifacts below one folder. Adding is atomic and idempotent; several processes may share it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._content = root / "content"
        self._keys = root / "keys"
        self._incoming = root / "incoming"

    def add(self, folder: Path) -> Artifact:
        """The artifact in `folder` (its artifact.json and files), kept. What is already there is not written again.

        Raises: ArtifactError if it is not sound, StoreError if it cannot be written.
        """
        artifact = read_artifact(folder)
        check_files(artifact, folder)
        place = self._content / artifact.id
        with writing(self.root):
            if not self._is_sound(place):
                remove_tree(place)
                self._take_in(artifact, folder, place)
            _add_layers(artifact, folder, place)
            _touch(place)
            write_whole(self._key_path(artifact.key), to_json(artifact))
        return artifact

    def _take_in(self, artifact: Artifact, folder: Path, place: Path) -> None:
        incoming = self._incoming / uuid.uuid4().hex
        try:
            for entry in artifact.files:
                if copy_flushed(folder / entry.path, incoming / entry.path) != entry.sha256:
                    raise ArtifactError(f"{folder / entry.path}: changed while it was copied: make it again")
            write_whole(incoming / DESCRIPTION, to_json(artifact))
            for inner in {incoming, *(path.parent for path in incoming.rglob("*"))}:
                sync(inner)
            place.parent.mkdir(parents=True, exist_ok=True)
            self._rename(incoming, place)
            sync(place.parent)
        finally:
            remove_tree(incoming)

    def _rename(self, incoming: Path, place: Path) -> None:
        try:
            incoming.rename(place)
        except OSError:
            if not self._is_sound(place):  # not merely another process that was first
                raise

    def _is_sound(self, place: Path) -> bool:
        try:
            check_files(read_artifact(place), place)
        except ArtifactError:
            return False
        return True

    def _key_path(self, key: str) -> Path:
        if not key or not all(c.isalnum() or c in "-_" for c in key):
            raise ArtifactError(f"an artifact's key must be a digest, got {key!r}")
        return self._keys / f"{key}.json"

    def made(self, key: str) -> Artifact | None:
        """What was made from `key` and is still sound; None where it must be made (again).

        Raises: ArtifactError if `key` is no digest.
        """
        path = self._key_path(key)
        try:
            artifact = from_json(path.read_bytes(), Artifact, str(path))
        except (OSError, UsageError):
            return None
        place = self._content / artifact.id
        if not self._is_sound(place):
            return None
        _touch(place)
        return artifact

    def artifacts(self) -> tuple[Artifact, ...]:
        """All artifacts whose description can be read, by name, then id."""
        found = []
        for folder in self._folders():
            try:
                found.append(read_artifact(folder))
            except ArtifactError:
                continue
        return tuple(sorted(found, key=lambda a: (a.name, a.id)))

    def find(self, text: str) -> Artifact:
        """The artifact that `text` names: its id, a unique prefix of it (4 letters or more), or name@prefix.

        Raises: UsageError if there is none, or more than one; ArtifactError if it is damaged.
        """
        name, _, prefix = text.rpartition("@")
        if len(prefix) < SHORTEST_PREFIX:
            raise UsageError(f"artifact {text!r}: want an id or its first {SHORTEST_PREFIX} letters or more")
        hits = [f for f in self._folders() if f.name.startswith(prefix.lower())]
        artifacts = [a for a in map(read_artifact, hits) if not name or a.name == name]
        if not artifacts:
            raise UsageError(f"artifact {text!r}: none in {self.root}: `edgekit artifacts list` shows those that are")
        if len(artifacts) > 1:
            names = ", ".join(a.id[:12] for a in artifacts[:4])
            raise UsageError(f"artifact {text!r}: {len(artifacts)} match ({names}): write more letters")
        check_files(artifacts[0], self.folder(artifacts[0]))
        return artifacts[0]

    def folder(self, artifact: Artifact | str) -> Path:
        """Where the files of an artifact (or of an id) are."""
        return self._content / (artifact if isinstance(artifact, str) else artifact.id)

    def file_finder(self) -> Callable[[str], Path | None]:
        """A function that finds a file of any artifact by its sha256; the store is looked through once, when asked.

        Whoever needs the file to be sound checks it.
        """

        @cache
        def files() -> dict[str, Path]:
            return {e.sha256: self.folder(a) / e.path for a in self.artifacts() for e in a.files}

        return lambda sha256: path if (path := files().get(sha256)) is not None and path.is_file() else None

    def model_path(self, artifact: Artifact) -> Path:
        """The file that a runtime loads."""
        return self.folder(artifact) / artifact.model_file

    def damaged(self) -> tuple[str, ...]:
        """What is wrong in the store, one line each: every file is read."""
        wrong = []
        for folder in self._folders():
            try:
                check_files(read_artifact(folder), folder)
            except ArtifactError as error:
                wrong.append(str(error))
        return tuple(wrong)

    def remove(self, artifact: Artifact | str) -> int:
        """Removes an artifact; the bytes freed, 0 if it was not there. Raises: StoreError."""
        return remove_tree(self.folder(artifact))

    def gc(self, keep: Set[str], *, min_age_s: float = 3600.0, dry_run: bool = False) -> Collected:
        """Removes artifacts with ids not in `keep`, and what interrupted work left; nothing younger than `min_age_s`.

        Young ones may belong to work that is still under way. Raises: StoreError.
        """
        young = time.time() - min_age_s
        doomed = [f for f in self._folders() if f.name not in keep and _made_before(f, young)]
        leftovers = [f for f in _children(self._incoming) + self._hidden() if _made_before(f, young)]
        freed = sum(folder_bytes(f) if dry_run else remove_tree(f) for f in (*doomed, *leftovers))
        gone = {f.name for f in doomed}
        for path in _children(self._keys):
            if not dry_run and _made_before(path, young) and self._points_at(path) in {None, *gone}:
                path.unlink(missing_ok=True)
        return Collected(artifacts=tuple(sorted(gone)), leftovers=len(leftovers), bytes_freed=freed)

    def _points_at(self, key_file: Path) -> str | None:
        try:
            found = from_json(key_file.read_bytes(), Artifact, str(key_file)).id
        except (OSError, UsageError):
            return None
        return found if (self._content / found).exists() else None

    def _folders(self) -> Iterator[Path]:
        return (path for path in _children(self._content) if not path.name.startswith("."))

    def _hidden(self) -> list[Path]:
        return [path for path in _children(self._content) if path.name.startswith(".")]


def _add_layers(artifact: Artifact, folder: Path, place: Path) -> None:
    """Puts the layer values of `folder` beside an artifact at `place` that has none: they are no part of its id."""
    entry = artifact.layers
    if entry is None or not (folder / entry.path).is_file() or (place / entry.path).is_file():
        return
    write_whole(place / entry.path, (folder / entry.path).read_bytes())
    write_whole(place / DESCRIPTION, to_json(artifact))


def _touch(place: Path) -> None:
    """Marks an artifact as wanted now, so that a gc beside this work leaves it."""
    with suppress(OSError):
        os.utime(place)


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _made_before(path: Path, moment: float) -> bool:
    try:
        return path.lstat().st_mtime <= moment
    except FileNotFoundError:
        return False
