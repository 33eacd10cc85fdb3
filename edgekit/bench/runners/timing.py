"""What one run of a vendor's program says of one model, and what a program is to edgekit: words and a parser. Pure."""

import math
import re
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from edgekit.core.measurement import OpTime, Reading, Told
from edgekit.core.noun import Noun
from edgekit.devices.said import readable
from edgekit.errors import MeasureError

_COMPLAINT = re.compile(r"\bE(?:RROR)?\b.{0,40}:|error|failed|fatal|exception|cannot|no space", re.IGNORECASE)
Figure = Literal["p95", "load", "first call", "memory", "outputs", "ops"]
"""What a program may tell besides the time of a call."""


class Tells(Noun, frozen=True, kw_only=True):
    """What a vendor's program tells: of a load the time of every call, or one figure of them; and what else.

    `least_s` is how long it has to call a model for that. None of them tells CPU time.
    """

    times: Told
    more: tuple[Figure, ...] = ()
    least_s: float = 0.5


class Job(Noun, frozen=True, kw_only=True):
    """A model to be timed by itself: its path on the device, threads, seconds of warm-up and of calls.

    `inputs` are files of the device with one call's raw numbers each, with their shapes; empty: the program's own.
    """

    model: str
    threads: int = 1
    warm_s: float = 0.5
    run_s: float = 1.0
    calls_least: int = 7
    units: str = ""
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()


class Timing(Noun, frozen=True, kw_only=True):
    """Seconds of a call over `calls` calls of one process; None is "not told".

    `calls_s` are those of single calls, where the program tells them. What it tells comes in steps of `step_s`.
    `warnings` are the program's own, about the figures; `steady` is whether it says that they do not vary.
    """

    calls: int
    mean_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    least_s: float | None = None
    calls_s: tuple[float, ...] = ()
    load_s: float | None = None
    first_call_s: float | None = None
    peak_memory_bytes: int | None = None
    version: str | None = None
    step_s: float | None = None
    steady: bool | None = None
    warnings: tuple[str, ...] = ()

    @property
    def told(self) -> Told:
        """Which figure of a load it is."""
        return "calls" if self.calls_s else "median" if self.p50_s is not None else "mean"

    @property
    def typical_s(self) -> float:
        """The median, or the mean where the program gives no median."""
        return float(self.p50_s if self.p50_s is not None else self.mean_s or 0.0)


class Runner(Protocol):
    """A vendor's program: the words that make it time one model in a process of its own, and what it says, read."""

    name: str
    tells: Tells

    def command(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """The words that time the job's model; `program` are those that start the program."""

    def parse(self, said: str, device: str) -> Timing:
        """What it said. Raises: MeasureError in its own words where it failed or said no figure."""


@runtime_checkable
class Computes(Protocol):
    """A program that also writes what a model gives for one call's inputs: the raw numbers of each output in a row."""

    def output_words(self, job: Job, program: tuple[str, ...], path: str) -> tuple[str, ...]:
        """The words that call the model and write its outputs to `path` of the device."""


@runtime_checkable
class Profiles(Protocol):
    """A program that also says how long each op of a model takes."""

    def profile_words(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """The words that profile the job's model."""

    def parse_ops(self, said: str, device: str) -> tuple[OpTime, ...]:
        """The ops, the longest first; none where this build of the program shows none. Raises: MeasureError."""


@runtime_checkable
class Weighs(Protocol):
    """A program that has to be asked for the memory of its process by other words."""

    def memory_words(self, job: Job, program: tuple[str, ...]) -> tuple[str, ...]:
        """The words that load the job's model, call it, and say what memory that took."""


def complaints(said: str) -> str:
    """The lines of a program in which it complains, as one; else the end of what it said.

    >>> complaints("INFO: STARTING!\\nERROR: Failed to load model\\nERROR: Benchmarking failed.")
    'ERROR: Failed to load model; ERROR: Benchmarking failed.'
    """
    lines = [line for line in said.splitlines() if _COMPLAINT.search(line[:1000])]
    return readable("; ".join(lines)) or readable(said[-400:]) or "it said nothing"


def number(text: str | None, scale: float = 1.0) -> float | None:
    """A time or a size that a program wrote, if it is one: above 0, and finite.

    >>> number("1.5e3", 1e-6), number("nan"), number("-1"), number(None)
    (0.0015, None, None, None)
    """
    try:
        value = float(text or "nan") * scale
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def reading_of(timing: Timing, artifact: str, *, calls_most: int) -> Reading:
    """One form in one round, from what a process of a vendor's program said: at most `calls_most` calls, evenly taken.

    >>> reading_of(Timing(calls=50, mean_s=2.0, p50_s=1.0), "a", calls_most=9).wall_s
    (1.0,)
    """
    figures: Sequence[float] = timing.calls_s or (timing.typical_s,)
    kept = np.linspace(0, len(figures) - 1, min(len(figures), calls_most)).round().astype(int)
    told = timing.told
    return Reading(
        artifact=artifact, wall_s=tuple(figures[i] for i in kept), told=told,
        calls=None if told == "calls" else timing.calls, p95_s=None if told == "calls" else timing.p95_s,
        load_s=timing.load_s, first_call_s=timing.first_call_s, peak_memory_bytes=timing.peak_memory_bytes,
        steady=timing.steady,
    )  # fmt: skip


def raw_outputs(raw: bytes, wanted: Sequence[tuple[tuple[int, ...], str]], what: str) -> tuple[np.ndarray, ...]:
    """Arrays of these shapes and types, whose numbers stand one after the other in `raw`.

    64-bit integers may be 32-bit ones there, as some formats have them.

    Raises: MeasureError if there are more or fewer bytes.

    >>> raw_outputs(b"\\x01\\0\\0\\0", [((1, 1), "int64")], "phone")
    (array([[1]], dtype=int32),)
    """
    for narrow in (False, True):
        types = [np.dtype(kind.replace("64", "32") if narrow and "int64" in kind else kind) for _, kind in wanted]
        sizes = [math.prod(shape) * kind.itemsize for (shape, _), kind in zip(wanted, types, strict=True)]
        if sum(sizes) == len(raw):
            ends = np.cumsum([0, *sizes])
            return tuple(
                np.frombuffer(raw[ends[i] : ends[i + 1]], kind).reshape(shape)
                for i, ((shape, _), kind) in enumerate(zip(wanted, types, strict=True))
            )
    raise MeasureError(f"{what} wrote {len(raw)} bytes of outputs, of shapes {[shape for shape, _ in wanted]}")
