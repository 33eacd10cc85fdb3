"""Trained weights by key: what fine-tuning made is found again by the next run, and after a kill."""

import io
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.store.files import write_whole, writing


class WeightStore:
    """Arrays by name, whole or absent, in one file a key. They can be made again, so `forget` may take any of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays that were kept under `key`; None where there are none, or where the file is damaged."""
        try:
            with np.load(self._path(key), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            os.utime(self._path(key))
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        return arrays

    def keep(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps `arrays` under `key`. Raises: StoreError."""
        content = io.BytesIO()
        np.savez(content, **arrays)  # type: ignore[arg-type]
        write_whole(self._path(key), content.getvalue())

    def forget(self, *, unused_s: float, dry_run: bool = False) -> int:
        """Removes what was neither kept nor read within the last `unused_s` seconds; the bytes freed.

        Raises: StoreError.
        """
        oldest, freed = time.time() - unused_s, 0
        with writing(self._folder):
            for path in self._folder.glob("*.npz"):
                state = path.stat()
                if state.st_mtime < oldest:
                    freed += state.st_size
                    if not dry_run:
                        path.unlink(missing_ok=True)
        return freed

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.npz"
