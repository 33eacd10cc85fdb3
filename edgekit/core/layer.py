"""A layer of a program, as a check names it: which of its values is looked at, and what is taken of it."""

from edgekit.core.noun import Noun
from edgekit.core.recipe import Precision


class LayerSpec(Noun, frozen=True, kw_only=True):
    """One row of a check, in order of execution.

    `name` is the module's, or of an op without weights the module around it and the op; one that is called again has
    `#2` behind it. `call` is the op's node in the program; `value` the name of its result, which is the quantize behind
    it where `step` (one LSB) is not 0, and "" where formats keep no such name. `shape` is the result's with the batch,
    `axis` that of its units (channels, features). `rounding` is how far summing in float32 instead of float64 moves it:
    RMS, as in test vectors; `rounding_unit` the RMS of the unit that moves most, `rounding_most` the largest move.
    `precision` is the recipe's, None of an op that is no layer of it.
    """

    name: str
    op: str
    module: str
    call: str
    value: str
    shape: tuple[int, ...]
    axis: int
    precision: Precision | None = None
    step: float = 0.0
    zero: int = 0
    rounding: float = 0.0
    rounding_unit: float = 0.0
    rounding_most: float = 0.0
