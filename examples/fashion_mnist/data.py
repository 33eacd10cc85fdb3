"""Fashion-MNIST as arrays: images (n, 1, 28, 28) of float32, normalised, and labels (n,) of int64.

The files are those of Debian's package dataset-fashion-mnist; the environment variable FASHION_MNIST names another
folder with the same four. Of the 60,000 training images 55,000 train (the first 512 of those also calibrate) and 5,000
validate; the 10,000 test images test.
"""

import gzip
import os
from pathlib import Path

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]

MEAN, DEVIATION = 0.2860, 0.3530
VALIDATION = 5_000
CALIBRATION = 512


def training() -> Arrays:
    """The 55,000 images that the weights are trained on."""
    images, labels = _read("train")
    return images[:-VALIDATION], labels[:-VALIDATION]


def calibration() -> Arrays:
    """512 of the training images, for the ranges of activations."""
    images, labels = _read("train")
    return images[:CALIBRATION], labels[:CALIBRATION]


def validation() -> Arrays:
    """5,000 images that no weight was trained on: what a search may see."""
    images, labels = _read("train")
    return images[-VALIDATION:], labels[-VALIDATION:]


def test() -> Arrays:
    """The 10,000 test images, for one look at the end."""
    return _read("t10k")


def _read(part: str) -> Arrays:
    """One part of the set, parsed from its two gzipped IDX files."""
    folder = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    images, labels = folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"
    for file in (images, labels):
        if not file.is_file():
            raise FileNotFoundError(
                f"{file} is missing: run `apt-get install dataset-fashion-mnist` (Debian's section non-free), or set "
                "FASHION_MNIST to a folder with the four files of github.com/zalandoresearch/fashion-mnist"
            )
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8).astype(np.int64)
    return ((pixels / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)).astype(np.float32), classes
