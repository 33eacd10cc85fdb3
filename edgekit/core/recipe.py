"""What to do to a model, in order: the words of `[[step]]` in a recipe file."""

from typing import Annotated, Literal, get_args

import msgspec
import tomli_w

from edgekit.core.noun import Noun, check_schema, digest, from_toml, to_builtins

Precision = Literal["fp32", "fp16", "bf16", "int16", "int8", "int8-dynamic", "int8-weights", "int4-weights"]
"""How a layer is stored and computed.

fp32          as the model is.
fp16, bf16    weights and arithmetic in half.
int8          weights and activations in int8; the activations' scales are those of the calibration data.
int16         activations in int16, symmetric, with scales of the calibration data; weights in int8.
int8-dynamic  weights in int8, a scale for each output channel; activations in int8 with a scale for the whole tensor
              that is taken anew at each call.
int8-weights  weights stored in int8, a scale for each output channel; arithmetic in float.
int4-weights  weights stored in 4 bits, a scale for each group of input channels (`Numerics.int4_group`); arithmetic in
              float.
"""
IN_FLOAT = frozenset[Precision](("fp32", "int8-weights", "int4-weights"))
"""The precisions whose arithmetic is that of float32."""
Word = Literal["float", "fp16", "bf16", "int16", "int8", "int8-dynamic", "int8-weights", "int4-weights"]
"""The words for recipes: `NAMED`."""
Ranges = Literal["minmax", "percentile", "mse"]
Rounding = Literal["nearest", "gptq"]
Granularity = Literal["channel", "tensor"]
Importance = Literal["l1", "l2", "taylor"]
Share = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Prune(Noun, frozen=True, kw_only=True, tag="prune", tag_field="kind"):
    """Remove whole channels, group by group.

    `ratio` is the share of channels taken from every group; `widths` names channels kept, group by group, and wins
    over it. A width that `ratio` gives is rounded up to a multiple of `round_to`.
    """

    granularity: Literal["channel"] = "channel"
    importance: Importance = "l2"
    ratio: Share = 0.0
    widths: tuple[tuple[str, Positive], ...] = ()
    round_to: Positive = 1


class Recover(Noun, frozen=True, kw_only=True, tag="recover", tag_field="kind"):
    """Win back accuracy: re-estimate BatchNorm on `batch_norm_batches` batches, then fine-tune for `epochs`.

    The teacher of fine-tuning is the float model's output (no labels needed) or the labels, where data has them.
    """

    batch_norm_batches: Annotated[int, msgspec.Meta(ge=0)] = 32
    epochs: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    learning_rate: Annotated[float, msgspec.Meta(gt=0.0)] = 0.01
    teacher: Literal["float", "labels"] = "float"


class Quantize(Noun, frozen=True, kw_only=True, tag="quantize", tag_field="kind"):
    """Insert quantization: every layer in `default`, but those that `layers` names (name, precision).

    A layer's name is that of its torch module (`layer1.0.conv1`); `ranges` says how activation ranges are taken,
    `rounding` how weights are put on their grids: each to its nearest step, or together by what their layer takes.
    `granularity` is of the weights of int8 layers: a scale for each output channel, where the target has that, or one
    for the whole tensor: a per cent or so faster in some kernels, and the worse the less alike the channels are.
    """

    default: Precision = "int8"
    layers: tuple[tuple[str, Precision], ...] = ()
    ranges: Ranges = "minmax"
    rounding: Rounding = "nearest"
    granularity: Granularity = "channel"


Step = Prune | Recover | Quantize


class Recipe(Noun, frozen=True, kw_only=True):
    """Steps in order; an empty recipe leaves the model as it is. Equal recipes have equal digests."""

    schema: int = 1
    step: tuple[Step, ...] = ()
    seed: int = 0

    @property
    def digest(self) -> str:
        """Digest of the whole recipe, seed included."""
        return digest("recipe", self)


FLOAT = Recipe()
NAMED: dict[str, Recipe] = {
    "float": FLOAT,
    **{word: Recipe(step=(Quantize(default=word),)) for word in get_args(Precision) if word != "fp32"},
}
"""The recipes that have a word of their own: float, and every precision for all layers."""


def words_of(recipe: Recipe) -> frozenset[Precision]:
    """The precisions, fp32 aside, that some layer has whatever the model: the default is for those not named.

    >>> sorted(words_of(NAMED["fp16"]))
    ['fp16']
    """
    steps = [step for step in recipe.step if isinstance(step, Quantize)]
    found = {word for step in steps for word in ([word for _, word in step.layers] or [step.default])}
    return frozenset(found - {"fp32"})


def recipe_from_toml(text: str, where: str) -> Recipe:
    """The recipe in `text`.

    Raises: UsageError naming `where` and the key.

    >>> recipe_from_toml('[[step]]\\nkind = "quantize"', "r.toml").step[0].default
    'int8'
    """
    recipe = from_toml(text, Recipe, where)
    check_schema(recipe.schema, 1, where)
    return recipe


def recipe_to_toml(recipe: Recipe) -> str:
    """`recipe` as TOML that `recipe_from_toml` reads back to an equal one."""
    return tomli_w.dumps(to_builtins(recipe))
