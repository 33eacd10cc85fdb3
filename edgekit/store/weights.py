"""Trained weights by key: what fine-tuning made is found again by the next run, and after a kill."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from edgekit.store.files import write_whole, writing


class WeightStore:
    """Arrays by name, whole or absent, in one file a key. They can be made again, so `forget` may take any of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays that were kept under `key`; None where there are none, or where the file is damaged."""
        try:
            return dict(load_file(self._path(key)))
        except (OSError, SafetensorError):
            return None

    def keep(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps `arrays` under `key`. Raises: StoreError."""
        write_whole(self._path(key), save({name: np.ascontiguousarray(a) for name, a in arrays.items()}))

    def forget(self, *, unused_s: float, now: float | None = None) -> int:
        """Removes what was not kept within the last `unused_s` seconds; the bytes freed. Raises: StoreError."""
        oldest, freed = (time.time() if now is None else now) - unused_s, 0
        with writing(self._folder):
            for path in self._folder.glob("*.safetensors"):
                state = path.stat()
                if state.st_mtime < oldest:
                    path.unlink()
                    freed += state.st_size
        return freed

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.safetensors"
