"""What the search asks, and what it is told. Each is plain data with a digest: a ledger can replay a whole search.

A question names points; its answer is one value per point, in the question's order: the kind that the question's
docstring names, or `Failed`.
"""

from typing import Literal

import msgspec

from edgekit.core.measurement import Comparison, Measurement, Quality
from edgekit.core.noun import Noun, digest, from_json
from edgekit.core.price import OpPrice, OpSignature, TracedOp
from edgekit.core.trial import Explanation, Refusal
from edgekit.search.space import Fidelity, Point


class Goal(Noun, frozen=True, kw_only=True):
    """What to minimise, and under which limits.

    Every `Quality` that has a bound must keep its drop's upper limit within it (on "full" fidelity), whatever is
    minimised; `max_seconds` bounds the latency on the device besides. "loss" is `Evaluated.loss`: only precisions are
    chosen then. What is chosen is never slower than float by more than the noise; for "latency" it is faster by more.
    """

    minimise: Literal["latency", "size", "memory", "loss"] = "latency"
    max_seconds: float | None = None


class Effort(Noun, frozen=True, kw_only=True):
    """What the search may spend.

    `pushes`: forms put on the device (profiled, measured or both: one), the op farm counted as one. `shapes`: width
    vectors built without training, to compile or score them quickly. `tunings`: width vectors fine-tuned. `compiles`:
    forms built and compiled, most of them mixes of shapes that exist.
    """

    pushes: int = 24
    shapes: int = 48
    tunings: int = 8
    compiles: int = 300


class Asked(Noun, frozen=True, kw_only=True):
    """A question about points."""

    points: tuple[Point, ...]

    @property
    def digest(self) -> str:
        """Equal in any process for equal questions: the key of its answer in a ledger."""
        return digest("question", type(self).__name__, self)


class Profile(Asked, frozen=True, kw_only=True, tag="profile"):
    """Run each on the device alone, with the runtime's trace where it has one. Answer: `Profiled`."""


class Compile(Asked, frozen=True, kw_only=True, tag="compile"):
    """Let the device's runtime compile each (weights need no training) and price its ops. Answer: `Compiled`."""


class Evaluate(Asked, frozen=True, kw_only=True, tag="evaluate"):
    """Score each on the host, on data that is not the test split. Answer: `Evaluated`."""

    fidelity: Fidelity


class Measure(Asked, frozen=True, kw_only=True, tag="measure"):
    """Compare each with `baseline` on the device, in interleaved rounds ("full" fidelity). Answer: `Measured`."""

    baseline: Point


class Failed(Noun, frozen=True, kw_only=True, tag="failed"):
    """A form that cannot be built, compiled, scored or run, with the reason. It is refused."""

    point: Point
    reason: str


class Profiled(Noun, frozen=True, kw_only=True, tag="profiled"):
    """A form's seconds per call on the device, and the ops of its trace; no ops: the runtime has no trace.

    `peak_memory_bytes` is needed where memory is the goal: it is the unit that others are compared with.
    """

    point: Point
    seconds: float
    ops: tuple[TracedOp, ...] = ()
    peak_memory_bytes: int | None = None


class Compiled(Noun, frozen=True, kw_only=True, tag="compiled"):
    """The ops of a form as the runtime compiled it, in its order, each with its price.

    `unpriced` are the ops that have none (traced nowhere, and the farm cannot run them). Both empty: the runtime does
    not show what it compiled.
    """

    point: Point
    ops: tuple[OpPrice, ...] = ()
    unpriced: tuple[OpSignature, ...] = ()
    size_bytes: int | None = None
    memory_bytes: int | None = None


class Evaluated(Noun, frozen=True, kw_only=True, tag="evaluated"):
    """A form's loss (distance of its outputs from the float model's; 0 for float) and its quality."""

    point: Point
    loss: float
    quality: tuple[Quality, ...] = ()


class Measured(Noun, frozen=True, kw_only=True, tag="measured"):
    """A form against the question's baseline, and its own measurement."""

    point: Point
    comparison: Comparison
    measurement: Measurement


class Candidate(Noun, frozen=True, kw_only=True):
    """All that is known of a point that was scored or measured. `comparison` is against float."""

    point: Point
    name: str
    uniform: bool = False
    predicted_s: float | None = None
    loss: float | None = None
    quality: tuple[Quality, ...] = ()
    comparison: Comparison | None = None
    measurement: Measurement | None = None
    size_bytes: int | None = None


class Done(Noun, frozen=True, kw_only=True, tag="done"):
    """The end: the choice (float itself where nothing beats it), its reasons, the front, and all that was tried.

    `front` are the measured, feasible points that no other one beats in both the goal and loss. `pushes` is what was
    spent on the device.
    """

    choice: Point
    kept_float: bool
    explanation: Explanation
    front: tuple[Point, ...] = ()
    tried: tuple[Candidate, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    pushes: int = 0


Question = Profile | Compile | Evaluate | Measure | Done
Answer = Profiled | Compiled | Evaluated | Measured | Failed


class _Answers(Noun, frozen=True, kw_only=True):
    answers: tuple[Answer, ...]


def answers_to_json(answers: tuple[Answer, ...]) -> bytes:
    """`answers` as bytes for a ledger."""
    return msgspec.json.encode(_Answers(answers=answers), order="deterministic")


def answers_from_json(text: bytes, where: str) -> tuple[Answer, ...]:
    """What `answers_to_json` wrote.

    Raises: UsageError naming `where`.
    """
    return from_json(text, _Answers, where).answers
