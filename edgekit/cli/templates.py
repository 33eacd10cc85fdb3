"""The text of a new project."""

import json

from edgekit.errors import UsageError

PROJECT = """\
# What `edgekit tune` is asked to do. Paths are relative to this file.
schema = 1
name = {name}
minimise = "latency"                    # or "size" or "memory"
threads = 1                             # on the device
seed = 0

[model]
source = {source}
{input}
# weights = "weights.safetensors"       # or a .pt, read with weights_only; default: as the function gives the model
# example = "data.py:example"           # in place of `shape`: a tensor, or a tuple of tensors

[data]                                  # each "file.py:function" or an .npz with in_0 (and label)
calibration = "data.py:calibration"     # sets the ranges of int8: some hundred samples, no labels needed
validation = "data.py:validation"       # what the search sees
test = "data.py:test"                   # read once, at the end
# training = "data.py:training"         # for fine-tuning; default: calibration's samples

[metric]
name = "accuracy"                       # or "agreement" (with the float model; no labels), or "file.py:function"
max_drop = "0.5%"                       # of the upper limit of the drop's 95 % interval

[budget]
pushes = 15                             # measurements on the device
minutes = 60
epochs = 1.0                            # of fine-tuning one candidate

[compress]
precision = true                        # float32 or int8, of the kind that is better, layer by layer
width = true                            # channels, group by group
ranges = "minmax"                       # or "percentile" or "mse"
rounding = "nearest"                    # or "gptq": weights together, by what their layers take on calibration
granularity = "channel"                 # or "tensor": one scale for a whole weight, at times 1 % faster
# round_to = 8                          # channels are kept in multiples of this; default: the target's
# frozen = ["head*"]                    # layers that stay as they are
"""

DATA_SKETCH = '''\
"""The data of project.toml: each function gives (inputs, labels), arrays with the sample first.

Inputs are as the model takes them; labels are not needed where the metric is "agreement".
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def _split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """data/<name>.npz with the arrays `inputs` (float32) and `labels` (int64); put your own reading here."""
    with np.load(HERE / "data" / f"{name}.npz") as file:
        return file["inputs"], file["labels"]


def calibration() -> tuple[np.ndarray, np.ndarray]:
    return _split("calibration")


def validation() -> tuple[np.ndarray, np.ndarray]:
    return _split("validation")


def test() -> tuple[np.ndarray, np.ndarray]:
    return _split("test")
'''


def project_text(name: str, source: str, shape: tuple[int, ...]) -> str:
    """A commented project.toml."""
    line = "" if source.endswith(".pt2") else f"shape = {list(shape)}"
    comment = "the example inputs are in the .pt2" if not line else "of the one float32 input, batch first"
    filled = f"{line:<40}# {comment}" if line else f"# {comment}"
    return PROJECT.format(name=json.dumps(name), source=json.dumps(source), input=filled)


def parse_shape(text: str) -> tuple[int, ...]:
    """The sizes in "1,3,224,224".

    Raises: UsageError.

    >>> parse_shape("1,3,32,32")
    (1, 3, 32, 32)
    """
    try:
        sizes = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise UsageError(f"--shape: want sizes like 1,3,224,224, got {text!r}")
    return sizes
