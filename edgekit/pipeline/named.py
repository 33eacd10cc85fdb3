"""The artifact that a user's word names: one of the store, a folder, or a model file that edgekit did not make."""

import os
from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.device import Device
from edgekit.errors import UsageError
from edgekit.formats.names import file_endings, format_of
from edgekit.formats.pack import wrap
from edgekit.formats.verify import verify
from edgekit.pipeline.fitting import fitting_target
from edgekit.store.artifacts import ArtifactStore
from edgekit.store.scratch import scratch


def artifact_named(text: str, device: Device, store: ArtifactStore) -> Artifact:
    """An id, a unique beginning of one or name@beginning; else the path of an artifact's folder, or of a model file.

    What a path names is taken into the store. A model file (its suffix is its format) is for the target that fits
    `device`.

    Raises: UsageError if there is none; ArtifactError if it is damaged, or its runtime refuses it; TargetError;
    UnreachableError, DeviceError.
    """
    path = Path(text)
    if path.is_dir():
        return store.add(path)
    kind = format_of(path.name)
    if path.is_file():
        if kind is None:
            raise UsageError(f"{text}: want a model file that ends in .{', .'.join(file_endings())}, or a folder")
        target = fitting_target(device, kind)
        with scratch() as folder:
            verify(wrap(path, target, folder / "artifact"), folder / "artifact")  # a file may lean on others beside it
            return store.add(folder / "artifact")
    if kind is not None or os.sep in text:
        raise UsageError(f"{text}: no such file or folder")
    return store.find(text)
