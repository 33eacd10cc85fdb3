"""What was measured on a device, under which conditions, and what a comparison says."""

from typing import Literal

from edgekit.core.noun import Noun

Clock = Literal["wall", "cpu"]
Told = Literal["calls", "median", "mean"]
"""What a runtime tells of one load: the time of every call, or only this figure of all of them."""
Verdict = Literal["faster", "slower", "no difference", "unlike states"]


class Options(Noun, frozen=True, kw_only=True):
    """How a model is run: part of a measurement's key."""

    threads: int = 1
    runtime: str = "onnxruntime"


class Conditions(Noun, frozen=True, kw_only=True):
    """The state of the device around a measurement; None is "could not be read"."""

    runtime: str
    runtime_version: str
    threads: int
    cores: tuple[int, ...] | None = None
    """Those that the process may run on, where it was kept off the slow ones."""
    units: str | None = None
    """What of the chip took part, where there is a choice: "all: 12 ops on the neural engine, 3 on the CPU"."""
    governor: str | None = None
    power_mode: str | None = None
    frequency_khz: int | None = None
    temperature_start_c: float | None = None
    temperature_end_c: float | None = None
    load_average: float | None = None
    throttled: bool | None = None


class Latency(Noun, frozen=True, kw_only=True):
    """Seconds of one call over `calls` calls in `loads` fresh loads; `low_s` and `high_s` bound p50 at 95 %.

    `p90_within_s` and `p99_within_s` bound the other two, likewise; None from one load. `least_s` is the least of the
    loads' medians: the form's time (design.md, decision 3).

    Where a runtime tells only one figure of a load, `told` says which, p50 is the median of those over the loads, and
    of the tail nothing is known (None) but perhaps `p95_s`, the median of what the loads told.
    """

    p50_s: float
    p90_s: float | None
    p99_s: float | None
    least_s: float
    low_s: float
    high_s: float
    calls: int
    loads: int
    p90_within_s: tuple[float, float] | None = None
    p99_within_s: tuple[float, float] | None = None
    p95_s: float | None = None
    told: Told = "calls"


class Measurement(Noun, frozen=True, kw_only=True):
    """One artifact on one device: both clocks, memory, times of loading and of the first call; None is "not told"."""

    artifact: str
    device: str
    conditions: Conditions
    wall: Latency
    cpu: Latency | None = None
    load_s: float | None = None
    first_call_s: float | None = None
    peak_memory_bytes: int | None = None
    size_bytes: int | None = None
    steady: bool | None = True
    """False: no steady state was found, and the numbers are only what was seen; None: the runtime does not tell."""

    @property
    def judged(self) -> Latency:
        """The times that a model of prices is fitted to: the process's own, which others disturb least, where told."""
        return self.cpu or self.wall


class Reading(Noun, frozen=True, kw_only=True):
    """One form in one round, loaded fresh and alone: seconds per call after warm-up, on both clocks.

    `cpu_s` is empty where the runtime tells no CPU time. Where it tells one figure of `calls` calls, `wall_s` is that
    figure, `told` says which, and `p95_s` is its own word for the tail. None is "not told".
    """

    artifact: str
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...] = ()
    load_s: float | None = None
    first_call_s: float | None = None
    warmup_calls: int = 0
    told: Told = "calls"
    calls: int | None = None
    p95_s: float | None = None
    peak_memory_bytes: int | None = None
    steady: bool | None = True


class Round(Noun, frozen=True, kw_only=True):
    """All forms of a comparison once, in the order they ran; it began at `at_s` on the device's steady clock."""

    index: int
    readings: tuple[Reading, ...]
    at_s: float | None = None
    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None
    throttled: bool | None = None
    governor: str | None = None


class Window(Noun, frozen=True, kw_only=True):
    """About a second of calls without a pause, `at_s` seconds after the first, and the state of the device then."""

    at_s: float
    p50_s: float
    p99_s: float | None
    calls: int
    temperature_c: float | None = None
    frequency_khz: int | None = None
    load_average: float | None = None
    throttled: bool | None = None


class Sustained(Noun, frozen=True, kw_only=True):
    """What calling without a pause does to a form's time.

    `begun_s` and `held_s` are the medians of the first and the last tenth of the windows, `slowdown` the share by which
    the second is longer. `joules_per_call` is of the whole device, by the named sensor; None is "not measured".
    """

    windows: tuple[Window, ...]
    begun_s: float
    held_s: float
    slowdown: float
    throttled: bool | None
    joules_per_call: float | None = None
    sensor: str | None = None
    between: str | None = None
    """What lay between two windows, where that was not just the next call: "a fresh process"."""


class OpTime(Noun, frozen=True, kw_only=True):
    """An op of a form as the device's runtime compiled it: its seconds in a call, and its share of them."""

    name: str
    op: str
    seconds: float
    share: float


class Profile(Noun, frozen=True, kw_only=True):
    """One artifact on one device by itself: cold and steady times, sustained ones, and where the time goes.

    `ops` is empty where the runtime does not tell. `remarks` say what a reader of the figures should know.
    """

    measurement: Measurement
    sustained: Sustained | None = None
    ops: tuple[OpTime, ...] = ()
    remarks: tuple[str, ...] = ()


class Ratio(Noun, frozen=True, kw_only=True):
    """candidate / baseline over paired rounds, with its interval at `confidence`. Below 1 the candidate is faster."""

    value: float
    low: float
    high: float
    rounds: int
    confidence: float = 0.95


class Comparison(Noun, frozen=True, kw_only=True):
    """A candidate against a baseline, in the same rounds on one device.

    `ratio` is the judged one, on the clock that `clock` names: wall, unless other programs disturbed it. Too few
    rounds of one state of the device are no verdict: "unlike states". `slope` is the share by which the baseline, the
    canary of every round, became slower in a minute; None if that may be chance. `cpu` is None where one of the two
    has a runtime that tells no CPU time. `remarks` say what a reader of the figures should know: heat, drift, others.
    """

    device: str
    baseline: str
    candidate: str
    ratio: Ratio
    clock: Clock
    wall: Ratio
    cpu: Ratio | None = None
    verdict: Verdict
    slope: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def judged(self) -> Ratio:
        """As `Measurement.judged`, of the two."""
        return self.cpu or self.wall


class Quality(Noun, frozen=True, kw_only=True):
    """A metric on a split, beside the float model's; `drop` is reference - value in the metric's own unit.

    `drop_low` and `drop_high` are the 95 % interval of the paired difference; the upper one is what is accepted.
    """

    metric: str
    split: Literal["calibration", "validation", "test"]
    value: float
    reference: float
    drop: float
    drop_low: float
    drop_high: float
    samples: int
    bound: float | None = None
    """The drop allowed, where there is one."""
