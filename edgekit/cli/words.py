"""Results in words and tables: studies, comparisons, qualities. Pure functions of nouns."""

from typing import TYPE_CHECKING

from edgekit.cli.output import duration, size, table
from edgekit.core.measurement import Comparison, Latency, Measurement, Profile, Quality, Ratio, Sustained
from edgekit.core.trial import Choice, Study, Trial

if TYPE_CHECKING:
    from edgekit.pipeline.engine import OnDevice
    from edgekit.pipeline.tried import Tried

MOST_REFUSALS = 8
MOST_OPS = 12
NOISE = 0.01


def ratio_words(ratio: Ratio) -> str:
    """A ratio with its interval.

    >>> ratio_words(Ratio(value=0.412, low=0.40, high=0.425, rounds=12))
    '0.412 (0.400 to 0.425)'
    """
    return f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f})"


def drop_words(quality: Quality) -> str:
    """A drop in points with its interval.

    >>> drop_words(Quality(metric="accuracy", split="test", value=0.918, reference=0.92, drop=0.002, drop_low=0.0,
    ...     drop_high=0.004, samples=1000))
    'accuracy 0.9180, drop 0.20 points (0.00 to 0.40)'
    """
    return (
        f"{quality.metric} {quality.value:.4f}, drop {100 * quality.drop:.2f} points "
        f"({100 * quality.drop_low:.2f} to {100 * quality.drop_high:.2f})"
    )


def comparison_words(comparison: Comparison) -> str:
    """A verdict as a sentence."""
    ratio = f"{ratio_words(comparison.ratio)} of the time, {comparison.ratio.rounds} rounds, {comparison.clock} clock"
    if comparison.verdict == "no difference":
        return f"{comparison.candidate[:12]} and {comparison.baseline[:12]}: no difference; {ratio}"
    if comparison.verdict == "unlike states":
        return (
            f"{comparison.candidate[:12]} and {comparison.baseline[:12]}: no verdict, the device's state changed too "
            f"often; let it cool, fix its governor, measure again ({ratio})"
        )
    return f"{comparison.candidate[:12]} is {comparison.verdict} than {comparison.baseline[:12]}: {ratio}"


def measurement_table(measurements: tuple[Measurement, ...]) -> str:
    """One row an artifact: its times on the wall clock, its memory; "-" is "not told"."""
    tails = any(m.wall.p95_s is not None for m in measurements)
    heads = ("artifact", "least", "p50", "p90", *(("p95",) if tails else ()), "p99", "peak memory", "load", "steady")
    rows = [
        (
            m.artifact[:12], duration(m.wall.least_s), _middle(m.wall), duration(m.wall.p90_s),
            *((duration(m.wall.p95_s),) if tails else ()), duration(m.wall.p99_s), size(m.peak_memory_bytes),
            duration(m.load_s), {True: "yes", False: "no", None: None}[m.steady],
        )
        for m in measurements
    ]  # fmt: skip
    return table(heads, rows)


def _middle(wall: Latency) -> str:
    """The median call, or what a runtime tells in place of it."""
    return duration(wall.p50_s) + (" (mean)" if wall.told == "mean" else "")


def profile_lines(profile: Profile) -> list[str]:
    """One artifact on one device: cold, steady, sustained, and the ops that take the most of it."""
    m = profile.measurement
    warm = f"{', '.join(_steady_words(m.wall))}; {m.wall.calls} calls in {m.wall.loads} loads"
    cores = m.conditions.cores
    return [
        f"{m.artifact[:12]} on {m.device}: {m.conditions.runtime} {m.conditions.runtime_version}, "
        f"{m.conditions.threads} {'thread' if m.conditions.threads == 1 else 'threads'}"
        + (f", kept on cores {', '.join(map(str, cores))}" if cores else ""),
        *([f"units        {m.conditions.units}"] if m.conditions.units else []),
        f"cold         load {_told(m.load_s)}, first call {_told(m.first_call_s)}",
        {True: "steady       ", False: "NOT STEADY   ", None: "warm         "}[m.steady] + warm,
        f"memory       {'not told' if m.peak_memory_bytes is None else f'{size(m.peak_memory_bytes)} at most'}, "
        f"file {size(m.size_bytes)}",
        *(f"note         {remark}" for remark in profile.remarks),
        *sustained_lines(profile.sustained),
        *(f"op           {duration(op.seconds)} {op.share:4.0%}  {op.op} {op.name}" for op in profile.ops[:MOST_OPS]),
    ]


def _steady_words(wall: Latency) -> list[str]:
    """The middle with its interval, and of the tail what the runtime tells."""
    middle = "mean" if wall.told == "mean" else "p50"
    words = [f"{middle} {duration(wall.p50_s)} ({duration(wall.low_s)} to {duration(wall.high_s)})"]
    if wall.p95_s is not None:
        words.append(f"p95 {duration(wall.p95_s)}")
    if wall.p90_s is None or wall.p99_s is None:
        return [*words, "p90 and p99 not told"]
    return [
        *words, f"p90 {_within(wall.p90_s, wall.p90_within_s)}", f"p99 {_within(wall.p99_s, wall.p99_within_s)}",
    ]  # fmt: skip


def _told(seconds: float | None) -> str:
    """A vendor's program tells no first call, and some of them no load; what was kept of one long ago is 0."""
    return duration(seconds) if seconds else "not told"


def _within(seconds: float, bounds: tuple[float, float] | None) -> str:
    return duration(seconds) + (f" ({duration(bounds[0])} to {duration(bounds[1])})" if bounds else "")


def sustained_lines(sustained: Sustained | None) -> list[str]:
    """What calling without a pause did."""
    if sustained is None:
        return []
    but = f" but {sustained.between}" if sustained.between else ""
    change = "no slower" if sustained.slowdown < NOISE else f"{sustained.slowdown:.1%} slower"
    heat = [w.temperature_c for w in sustained.windows if w.temperature_c is not None]
    words = [
        f"{sustained.windows[-1].at_s:.0f} s without a pause{but}: {duration(sustained.begun_s)} at first, "
        f"{duration(sustained.held_s)} at last ({change})"
    ]
    if heat:
        words.append(f"{heat[0]:.0f} to {max(heat):.0f} °C")
    throttled = {None: "throttling not known", True: "THROTTLED", False: "not throttled"}[sustained.throttled]
    energy = "not measured: no sensor was read"
    if sustained.joules_per_call is not None:
        energy = f"{sustained.joules_per_call * 1e3:.3g} mJ a call, all of the device ({sustained.sensor})"
    return [f"sustained    {'; '.join((*words, throttled))}", f"energy       {energy}"]


def engine_words(engine: "OnDevice") -> str:
    """What a device built of an artifact, and how it did with the test vectors."""
    verdict = engine.verdict
    worst = max(verdict.worst, default=0.0)
    off = f"{worst:.2g} steps" if any(verdict.in_steps) else f"{worst:.2%} of the range"
    took = "was there" if engine.was_there else f"built in {duration(engine.seconds)}"
    return (
        f"engine of TensorRT {engine.tensorrt}: {took}, {size(engine.size_bytes)}; "
        f"its outputs for {verdict.vectors} test vectors are {off} off at most"
    )


def tried_words(tried: "Tried") -> str:
    """How an artifact did on a device before it was active there."""
    if tried.verdict is None:
        return f"not proved there: {tried.why}"
    verdict = tried.verdict
    off = (
        f"{max(verdict.worst, default=0.0):.2g} steps"
        if any(verdict.in_steps)
        else f"{max(verdict.worst):.2%} of the range"
    )
    return f"tried there by {tried.runtime}: its outputs for {verdict.vectors} test vectors are {off} off at most"


def study_words(study: Study) -> str:
    """A study for a terminal: what was measured, what was refused, what was chosen and why."""
    parts = [trial_table(study)]
    if study.refusals:
        parts.append("\n".join(["Refused:", *refusal_lines(study)]))
    if study.choice is not None:
        parts.append(choice_words(study, study.choice))
    return "\n\n".join(parts)


def trial_table(study: Study) -> str:
    """The measured trials, the fastest first; the chosen one is marked."""
    chosen = study.choice.trial if study.choice else None
    measured = sorted((t for t in study.trials if t.comparison or t.measurement), key=_speed)
    heads = ("", "form", "ratio to float", "least", "predicted", "size", "peak memory", "quality")
    return table(heads, [("*" if trial.name == chosen else "", *_cells(trial)) for trial in measured])


def _cells(trial: Trial) -> tuple[str | None, ...]:
    took = trial.measurement
    return (
        trial.name,
        ratio_words(trial.comparison.ratio) if trial.comparison else None,
        duration(took.wall.least_s if took else None),
        duration(trial.predicted_s),
        size(trial.size_bytes),
        size(took.peak_memory_bytes if took else None),
        "; ".join(map(drop_words, trial.quality)) or None,
    )


def _speed(trial: Trial) -> tuple[float, str]:
    return (trial.comparison.ratio.value if trial.comparison else 1.0, trial.name)


def refusal_lines(study: Study) -> list[str]:
    """What was not taken and why, the first few."""
    lines = [f"  {refusal.what}: {refusal.reason}" for refusal in study.refusals[:MOST_REFUSALS]]
    rest = len(study.refusals) - len(lines)
    return [*lines, *([f"  and {rest} more: see the report"] if rest > 0 else [])]


def choice_words(study: Study, choice: Choice) -> str:
    """What was chosen, on which figures, and the reasons."""
    what = "keep float" if choice.kept_float else choice.trial
    lines = [f"Chosen for {choice.device} ({choice.target}): {what}, artifact {choice.artifact[:12]}"]
    trial = next((t for t in study.trials if t.name == choice.trial), None)
    if trial is not None and trial.comparison is not None:
        lines.append(f"  {ratio_words(trial.comparison.ratio)} of float's time, measured in {study.pushes} pushes")
    lines += [f"  on the test split: {drop_words(quality)}" for quality in choice.test]
    return "\n".join([*lines, *(f"  {sentence}" for sentence in choice.explanation.words)])
