"""A recipe applied to a model: its steps in order, to the one program that every format lowers."""

from collections.abc import Mapping

from edgekit.compress.prune import prune
from edgekit.compress.quantize import quantize
from edgekit.compress.recover import Progress, recover
from edgekit.core.recipe import Prune, Quantize, Recipe, Recover, Step
from edgekit.core.target import Numerics
from edgekit.errors import UsageError
from edgekit.models.data import Samples
from edgekit.models.model import Model
from edgekit.models.program import Program, export


def compress(
    model: Model, recipe: Recipe, numerics: Numerics, data: Mapping[str, Samples],
    *, features: tuple[str, ...] | None = None, on_progress: Progress = lambda done, total: None,
) -> Program:  # fmt: skip
    """The program that `recipe` makes of `model`. `data` has `calibration`, and `training` (else calibration is taken).

    `features` are the device's, as in `quantize`.

    Raises: UsageError for steps in an order that cannot be; ModelError, ProjectError, TargetError from the steps.
    """
    last = recipe.step[-1] if recipe.step else None
    if any(isinstance(step, Quantize) for step in recipe.step[:-1]):
        raise UsageError("recipe: quantize must be the last step, and there may be only one")
    floats = recipe.step[:-1] if isinstance(last, Quantize) else recipe.step
    shaped = reshape(model, floats, data, seed=recipe.seed, on_progress=on_progress)
    if isinstance(last, Quantize):
        return quantize(shaped, last, numerics, data["calibration"], features=features)
    return export(shaped)


def reshape(
    model: Model, steps: tuple[Step, ...], data: Mapping[str, Samples], *, seed: int = 0,
    on_progress: Progress = lambda done, total: None,
) -> Model:  # fmt: skip
    """`model` after the steps that leave it float: prune and recover, in their order.

    Raises: UsageError if a step is another one.
    """
    training = data.get("training", data["calibration"])
    changed = model
    for step in steps:
        if isinstance(step, Prune):
            changed = prune(changed, step, data["calibration"])
        elif isinstance(step, Recover):
            changed = recover(changed, step, training, model, seed, on_progress)
        else:
            raise UsageError(f"recipe: step {type(step).__name__.lower()} gives no float model")
    return changed
