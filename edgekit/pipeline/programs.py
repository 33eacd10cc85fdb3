"""One recipe for one target as a program; what it trains is kept, and found again by the next run."""

import copy
from collections.abc import Mapping

import numpy as np
import torch

from edgekit.compress.apply import finish, reshape, split
from edgekit.core.noun import digest
from edgekit.core.recipe import Prune, Recipe, Recover, Step
from edgekit.core.target import Target
from edgekit.models.model import Model, capture
from edgekit.models.plain import plain_module
from edgekit.models.program import Program
from edgekit.pipeline.alone import tools
from edgekit.pipeline.events import Event, Listener, silent
from edgekit.pipeline.job import Job
from edgekit.store.weights import WeightStore


def program_of(
    job: Job, recipe: Recipe, target: Target, weights: WeightStore, *,
    features: tuple[str, ...] | None = None, listen: Listener = silent,
) -> Program:  # fmt: skip
    """The program that `recipe` makes of the job's model, for a device with these `features` (None: not known).

    Raises: as `compress.apply.compress`; StoreError.
    """
    floats, last = split(recipe)
    shaped = _reshaped(job, floats, recipe.seed, weights, listen)
    return finish(shaped, last, target.numerics, job.data, features=features)


def _reshaped(job: Job, steps: tuple[Step, ...], seed: int, weights: WeightStore, listen: Listener) -> Model:
    def progress(done: int, total: int) -> None:
        listen(Event(stage="evaluate", text="fine-tuning", done=done, total=total))

    if not any(isinstance(step, Recover) and step.epochs for step in steps):
        return reshape(job.model, steps, job.data, seed=seed)
    trained_on = tuple(pair for pair in job.data_digests() if pair[0] in ("calibration", "training"))
    key = digest("weights", job.model.spec.digest, steps, seed, trained_on, tools())
    if (known := weights.read(key)) is not None:
        cuts = tuple(step for step in steps if isinstance(step, Prune))
        return _with_weights(reshape(job.model, cuts, job.data, seed=seed), known)
    model = reshape(job.model, steps, job.data, seed=seed, on_progress=progress)
    weights.keep(key, {name: tensor.numpy() for name, tensor in model.module.state_dict().items()})
    return model


def _with_weights(model: Model, weights: Mapping[str, np.ndarray]) -> Model:
    """A model of the same shapes with other weights."""
    module = copy.deepcopy(plain_module(model))
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return capture(module, model.example, model.spec.name, model.spec.free)
