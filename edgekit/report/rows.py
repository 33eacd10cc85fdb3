"""The tables of a report, row by row, as words and as what they sort by."""

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.core.measurement import Conditions
from edgekit.core.trial import LayerChoice, Study, Trial
from edgekit.report.words import (
    chosen_trial,
    deciding,
    drop_words,
    interval_words,
    keeps,
    kind_of,
    predicted_ratio,
    size_words,
    tail_words,
    time_words,
)


@dataclass(frozen=True)
class Cell:
    """What is read, what is sorted by (None: last), and a quieter second line."""

    text: str
    key: float | str | None = None
    note: str = ""


@dataclass(frozen=True)
class TrialRow:
    """One trial: `kind` is float, uniform or mixed."""

    kind: str
    chosen: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class LayerRow:
    """One layer; `share` is the bar's length, 0 to 1, of what it saves beside the layer that saves most."""

    choice: LayerChoice
    width: str
    narrower: bool
    saved: str
    share: float
    loss: str


TRIAL_HEADS = ("form", "kind", "time, float = 1", "p50", "predicted", "drop", "size", "peak memory", "standing")


def trial_rows(study: Study) -> tuple[TrialRow, ...]:
    """All trials: the measured first, the fastest on top."""
    chosen = chosen_trial(study)
    ordered = sorted(study.trials, key=lambda t: (t.comparison is None and kind_of(t) != "float", _ratio(t), t.name))
    return tuple(TrialRow(kind_of(t), t is chosen, _trial_cells(study, t)) for t in ordered)


def layer_rows(study: Study) -> tuple[LayerRow, ...]:
    """Each layer's choice, in the model's order."""
    layers = study.choice.explanation.layers if study.choice else ()
    most = max((abs(layer.saved_s) for layer in layers if layer.saved_s is not None), default=0.0)
    return tuple(
        LayerRow(
            choice=layer,
            width="–" if layer.width is None else f"{layer.width} of {layer.full_width or layer.width}",
            narrower=layer.width is not None and layer.full_width is not None and layer.width < layer.full_width,
            saved="–" if layer.saved_s is None else f"{layer.saved_s * 1e3:+.3f} ms".replace("-", "−"),
            share=(layer.saved_s or 0.0) / most if most else 0.0,
            loss="–" if layer.loss is None else f"{layer.loss:.2g}",
        )
        for layer in layers
    )


def condition_rows(study: Study) -> tuple[tuple[str, str], ...]:
    """(what, its value or range) over all measurements of the study; what could not be read is left out."""
    seen = [trial.measurement.conditions for trial in study.trials if trial.measurement]
    rows = [
        ("runtime", _distinct(seen, lambda c: f"{c.runtime} {c.runtime_version}")),
        ("threads", _distinct(seen, lambda c: str(c.threads))),
        ("governor", _distinct(seen, lambda c: c.governor)),
        ("power mode", _distinct(seen, lambda c: c.power_mode)),
        ("frequency", _range([c.frequency_khz and c.frequency_khz / 1e3 for c in seen], "MHz", 0)),
        ("temperature", _range([t for c in seen for t in (c.temperature_start_c, c.temperature_end_c)], "°C", 1)),
        ("load average", _range([c.load_average for c in seen], "", 2)),
        ("throttled", _distinct(seen, lambda c: None if c.throttled is None else "yes" if c.throttled else "no")),
        ("clock", ", ".join(sorted({t.comparison.clock for t in study.trials if t.comparison}))),
        ("unsteady", ", ".join(t.name for t in study.trials if t.measurement and t.measurement.steady is False)),
    ]
    return tuple((what, value) for what, value in rows if value)


def _trial_cells(study: Study, trial: Trial) -> tuple[Cell, ...]:
    ratio = trial.comparison.ratio if trial.comparison else None
    took, quality, predicted = trial.measurement, deciding(trial), predicted_ratio(study, trial)
    kind = kind_of(trial)
    return (
        Cell(trial.name, trial.name),
        Cell(kind, kind),
        Cell(f"{ratio.value:.3f}", ratio.value, interval_words(ratio.low, ratio.high, 3))
        if ratio and kind != "float"
        else Cell("1" if kind == "float" else "–", 1.0 if kind == "float" else None),
        Cell(time_words(took.wall.p50_s), took.wall.p50_s, tail_words(took.wall)) if took else Cell("–"),
        Cell("–" if predicted is None else f"{predicted:.3f}", predicted),
        Cell(*_parts(drop_words(quality), quality.drop)) if quality else Cell("–"),
        Cell(size_words(trial.size_bytes), trial.size_bytes),
        Cell(size_words(took.peak_memory_bytes), took.peak_memory_bytes) if took else Cell("–"),
        Cell(standing := _standing(study, trial), standing),
    )


def _parts(words: str, key: float) -> tuple[str, float, str]:
    """A figure, what it sorts by, and its interval as the second line."""
    figure, _, interval = words.partition(" (")
    return figure, key, interval.rstrip(")")


def _standing(study: Study, trial: Trial) -> str:
    """What came of a trial, in few words."""
    if trial is chosen_trial(study):
        return "chosen"
    if kind_of(trial) == "float":
        return "the reference"
    if any(not keeps(quality) for quality in trial.quality):
        return "loses too much"
    if trial.comparison is None:
        return "not measured"
    return trial.comparison.verdict


def _ratio(trial: Trial) -> float:
    return trial.comparison.ratio.value if trial.comparison and kind_of(trial) != "float" else 1.0


def _distinct(seen: list[Conditions], value: Callable[[Conditions], str | None]) -> str:
    found = {value(conditions) for conditions in seen}
    return ", ".join(sorted(text for text in found if text))


def _range(values: list[float | None], unit: str, decimals: int) -> str:
    """The least and the largest, or the one value."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = f"{min(known):.{decimals}f}", f"{max(known):.{decimals}f}"
    return f"{low} {unit}".rstrip() if low == high else f"{low} to {high} {unit}".rstrip()
