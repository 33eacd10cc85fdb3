"""Figures of a study as words: times, sizes, ratios and drops, each with its unit. Pure functions."""

from edgekit.core.measurement import Latency, Quality, Ratio
from edgekit.core.trial import Study, Trial


def time_words(seconds: float | None) -> str:
    """Seconds in the unit that reads best.

    >>> time_words(0.00123), time_words(4.2e-05), time_words(None)
    ('1.23 ms', '42.0 µs', '–')
    """
    if seconds is None:
        return "–"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if abs(seconds) * factor >= 1 or unit == "µs":
            return f"{_three_digits(seconds * factor)} {unit}"
    raise AssertionError  # pragma: no cover


def tail_words(wall: Latency) -> str:
    """What is known of the slow calls.

    >>> told = {"p50_s": 1.0, "p90_s": None, "p99_s": None, "least_s": 1.0, "low_s": 1.0, "high_s": 1.0}
    >>> tail_words(Latency(**told, p95_s=0.002, calls=9, loads=3))
    'p95 2.00 ms'
    """
    if wall.p90_s is not None:
        return f"p90 {time_words(wall.p90_s)}"
    return "slow calls not told" if wall.p95_s is None else f"p95 {time_words(wall.p95_s)}"


def size_words(size_bytes: int | None) -> str:
    """Bytes in a decimal unit.

    >>> size_words(312_400), size_words(12)
    ('312 kB', '12 B')
    """
    if size_bytes is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{_three_digits(size_bytes / factor)} {unit}"
    return f"{size_bytes} B"


def interval_words(low: float, high: float, decimals: int) -> str:
    """The two ends of an interval.

    >>> interval_words(-0.001, 0.4, 2)
    '0.00 to 0.40'
    """
    return f"{_plain(low, decimals)} to {_plain(high, decimals)}"


def ratio_words(ratio: Ratio) -> str:
    """A ratio and its interval.

    >>> ratio_words(Ratio(value=0.412, low=0.40, high=0.425, rounds=12))
    '0.412 (0.400 to 0.425)'
    """
    return f"{ratio.value:.3f} ({interval_words(ratio.low, ratio.high, 3)})"


def scale_of(quality: Quality) -> tuple[float, str]:
    """The factor and the unit that a metric's drop is shown in: a share in points, anything else as it is."""
    return (100.0, " points") if abs(quality.value) <= 1 and abs(quality.reference) <= 1 else (1.0, "")


def drop_words(quality: Quality) -> str:
    """A drop and its interval.

    >>> drop_words(Quality(metric="accuracy", split="test", value=0.918, reference=0.92, drop=0.002, drop_low=0.0,
    ...     drop_high=0.004, samples=1000))
    '0.20 points (0.00 to 0.40)'
    """
    scale, unit = scale_of(quality)
    bounds = interval_words(scale * quality.drop_low, scale * quality.drop_high, 2)
    return f"{_plain(scale * quality.drop, 2)}{unit} ({bounds})"


def value_words(quality: Quality, value: float) -> str:
    """A metric's value: a share in per cent, anything else as it is.

    >>> quality = Quality(metric="accuracy", split="test", value=0.918, reference=0.92, drop=0.002, drop_low=0.0,
    ...     drop_high=0.004, samples=1000)
    >>> value_words(quality, quality.value)
    '91.80 %'
    """
    scale, unit = scale_of(quality)
    return f"{scale * value:.2f}{' %' if unit else ''}"


def keeps(quality: Quality) -> bool:
    """Whether the drop's upper limit is within what is allowed."""
    return quality.bound is None or quality.drop_high <= quality.bound


def kind_of(trial: Trial) -> str:
    """float, uniform or mixed."""
    if not trial.recipe.step or trial.name == "float":
        return "float"
    return "uniform" if trial.uniform else "mixed"


def float_trial(study: Study) -> Trial | None:
    """The trial that all others are compared with."""
    return next((trial for trial in study.trials if kind_of(trial) == "float"), None)


def chosen_trial(study: Study) -> Trial | None:
    """The trial that was chosen; None where there is no choice or its trial was not kept."""
    name = study.choice.trial if study.choice else None
    return next((trial for trial in study.trials if trial.name == name), None)


def deciding(trial: Trial, metric: str | None = None) -> Quality | None:
    """The figure on the validation split that is nearest to its bound, or the one that `metric` names."""
    seen = [q for q in trial.quality if q.split == "validation" and metric in (None, q.metric)]
    return max(seen, key=lambda q: q.drop_high / q.bound if q.bound else float("-inf"), default=None)


def predicted_ratio(study: Study, trial: Trial) -> float | None:
    """The predicted time as a share of float's."""
    base = float_trial(study)
    base_s = None
    if base is not None:
        base_s = base.predicted_s or (base.measurement.wall.least_s if base.measurement else None)
    return trial.predicted_s / base_s if trial.predicted_s is not None and base_s else None


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _plain(value: float, decimals: int) -> str:
    """Fixed decimals, a true minus, and none before a zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")
