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
    floats, last = split(recipe)
    shaped = reshape(model, floats, data, seed=recipe.seed, on_progress=on_progress)
    return finish(shaped, last, numerics, data, features=features)


def split(recipe: Recipe) -> tuple[tuple[Step, ...], Quantize | None]:
    """The steps that leave the model float, for `reshape`, and the one that quantizes it, for `finish`.

    Raises: UsageError for an order that cannot be.
    """
    floats = tuple(step for step in recipe.step if not isinstance(step, Quantize))
    rest = recipe.step[len(floats) :]
    if recipe.step[: len(floats)] != floats or len(rest) > 1:
        raise UsageError("recipe: quantize must be the last step, and there may be only one")
    return floats, next((step for step in rest if isinstance(step, Quantize)), None)


def finish(
    shaped: Model, last: Quantize | None, numerics: Numerics, data: Mapping[str, Samples],
    *, features: tuple[str, ...] | None = None,
) -> Program:  # fmt: skip
    """The program of a model that `reshape` made, quantized if a step says so.

    Raises: as `quantize`.
    """
    if last is None:
        return export(shaped)
    return quantize(shaped, last, numerics, data["calibration"], features=features)


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
