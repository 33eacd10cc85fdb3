"""A check of whatever a user's word names: an artifact with its layers, or a bare file by what can be said of it."""

import os
from pathlib import Path

from edgekit.bench.check import Checked, check_on_host
from edgekit.core.artifact import Artifact
from edgekit.errors import UsageError
from edgekit.formats.names import file_endings
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.store.artifacts import DESCRIPTION, ArtifactStore, read_artifact


def check(text: str, store: ArtifactStore, *, listen: Listener = silent) -> Checked:
    """The check of an artifact: an id, a unique beginning of one, name@beginning, a folder, or a file in its folder.

    Raises: UsageError if there is none; ArtifactError if it is damaged, or its runtime refuses it.
    """
    artifact, folder = placed(text, store)
    listen(Event(stage="evaluate", text=f"running {artifact.id[:12]} on this computer"))
    return check_on_host(artifact, folder)


def placed(text: str, store: ArtifactStore) -> tuple[Artifact, Path]:
    """The artifact that `text` names, and where its files are. Raises: as `check`."""
    path = Path(text)
    folder = path.parent if path.is_file() and (path.parent / DESCRIPTION).is_file() else path
    if folder.is_dir():
        artifact = read_artifact(folder)
        if path is not folder and path.name not in {entry.path for entry in artifact.files}:
            raise UsageError(f"{text}: the artifact in its folder has no such file: name the folder")
        return artifact, folder
    if path.is_file():
        raise UsageError(f"{text}: no artifact: want an id, an artifact's folder, or a file in one")
    if path.suffix.removeprefix(".") in file_endings() or os.sep in text:
        raise UsageError(f"{text}: no such file or folder")
    artifact = store.find(text)
    return artifact, store.folder(artifact)
