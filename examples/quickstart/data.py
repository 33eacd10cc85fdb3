"""scikit-learn's 1,797 handwritten digits as images (n, 1, 32, 32) of float32 from -1 to 1, and labels (n,) of int64.

The four splits are disjoint: 800 train, 97 calibrate, 450 validate, 450 test, drawn once with a fixed seed.
"""

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]

SIZE = 32
BOUNDS = {"training": (0, 800), "calibration": (800, 897), "validation": (897, 1347), "test": (1347, 1797)}


def training() -> Arrays:
    """800 digits that the weights are trained on."""
    return _split("training")


def calibration() -> Arrays:
    """97 digits for the ranges of activations."""
    return _split("calibration")


def validation() -> Arrays:
    """450 digits: what a search may see."""
    return _split("validation")


def test() -> Arrays:
    """450 digits for one look at the end."""
    return _split("test")


def _split(role: str) -> Arrays:
    """The digits of one split, drawn larger."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn: run `pip install scikit-learn`") from None
    digits = load_digits()
    low, high = BOUNDS[role]
    chosen = np.random.default_rng(0).permutation(len(digits.target))[low:high]
    small = digits.images[chosen].astype(np.float32) / 8 - 1
    along = _interpolation(small.shape[1])
    return (along @ small @ along.T)[:, None], digits.target[chosen].astype(np.int64)


def _interpolation(pixels: int) -> np.ndarray:
    """The matrix (SIZE, pixels) that stretches a line of pixels linearly, pixel centres kept in place."""
    places = np.clip((np.arange(SIZE) + 0.5) * pixels / SIZE - 0.5, 0, pixels - 1)
    distance = np.abs(places[:, None] - np.arange(pixels))
    return np.maximum(0, 1 - distance).astype(np.float32)
