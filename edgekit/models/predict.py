"""What a model or program gives for samples, in torch."""

import numpy as np
import torch
from torch import Tensor

from edgekit.errors import MetricError, ModelError
from edgekit.models.data import Samples
from edgekit.models.model import Model, first_line
from edgekit.models.program import Program

CHECKED = 64
"""Samples that are run twice to see that a model is deterministic."""


def predict(model: Model | Program, samples: Samples, batch: int | None = None) -> np.ndarray:
    """The first output for every sample, sample first; `batch` (None: the example's) is how many run at a time.

    A last, smaller batch is filled up with its last sample where a model takes whole batches only.

    Raises: ModelError if the samples do not fit the model.
    """
    check_shapes(model, samples)
    run = model.exported.module() if isinstance(model, Program) else model.module
    size = batch or (model.spec.inputs[0].shape[0] if model.spec.inputs[0].shape else 1)
    parts = []
    with torch.no_grad():
        for part in samples.batches(size):
            whole = part if len(part) == size else part.take(np.minimum(np.arange(size), len(part) - 1))
            parts.append(_first(run, whole, model.spec.name)[: len(part)])
    return np.concatenate(parts)


def check_shapes(model: Model | Program, samples: Samples) -> None:
    """Return if a sample has the shape of the model's inputs.

    Raises: ModelError naming the input, what was wanted and what was got.
    """
    specs = model.spec.inputs
    if len(samples.inputs) != len(specs):
        raise ModelError(f"model {model.spec.name} takes {len(specs)} inputs, the samples have {len(samples.inputs)}")
    for spec, array in zip(specs, samples.inputs, strict=True):
        if not spec.takes((*spec.shape[:1], *array.shape[1:])):
            raise ModelError(
                f"model {model.spec.name}, input {spec.name}: want samples of shape {spec.shape[1:]}, "
                f"got {array.shape[1:]}"
            )


def check_deterministic(model: Model | Program, samples: Samples) -> None:
    """Return if the model gives the same for the same samples, run twice.

    Raises: MetricError naming the sample and by how much its outputs differ.
    """
    some = samples.take(slice(0, CHECKED))
    first, second = predict(model, some), predict(model, some)
    if not np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
        apart = np.abs(first.astype(np.float64) - second.astype(np.float64)).reshape(len(first), -1).max(axis=1)
        worst = int(apart.argmax())
        raise MetricError(
            f"model {model.spec.name} is not deterministic: sample {worst}, run twice, differs by {apart[worst]:.3g}; "
            "take out what is random in eval mode"
        )


def _first(run: torch.nn.Module, part: Samples, name: str) -> np.ndarray:
    try:
        result = run(*(torch.from_numpy(np.ascontiguousarray(a)) for a in part.inputs))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        shapes = ", ".join(str(a.shape) for a in part.inputs)
        raise ModelError(f"model {name} does not take samples of shape {shapes}: {first_line(error)}") from error
    output = result if isinstance(result, Tensor) else result[0]
    return np.asarray(output.detach().cpu().numpy())
