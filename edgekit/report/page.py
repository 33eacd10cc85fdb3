"""A study as one HTML page that needs no network: the answer, its reasons, and every figure behind them."""

from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from edgekit.core.measurement import Quality
from edgekit.core.trial import Study, Trial
from edgekit.report.figures import front_figure, prediction_figure
from edgekit.report.rows import TRIAL_HEADS, condition_rows, layer_rows, trial_rows
from edgekit.report.words import (
    chosen_trial,
    drop_words,
    float_trial,
    interval_words,
    keeps,
    kind_of,
    scale_of,
    size_words,
    tail_words,
    time_words,
    value_words,
)


@dataclass(frozen=True)
class Card:
    """One figure of the answer: a title, the figure, a line below, and whether it is good, bad or neither."""

    title: str
    figure: str
    note: str
    mood: str = ""


def render(study: Study) -> str:
    """The page, complete: text, style, plots and plotly.js in one string; equal studies give equal pages.

    The page's own policy forbids any request, and whatever names the study holds are shown as text.
    """
    environment = Environment(
        loader=PackageLoader("edgekit.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        study=study,
        title=headline(study),
        lead=lead(study),
        cards=cards(study),
        words=_further_words(study),
        figures={"front": front_figure(study), "prediction": prediction_figure(study)},
        heads=TRIAL_HEADS,
        trials=trial_rows(study),
        layers=layer_rows(study),
        conditions=condition_rows(study),
        plotly=get_plotlyjs(),
    )


def headline(study: Study) -> str:
    """The answer as one sentence."""
    if study.choice is None:
        return "No choice yet"
    if study.choice.kept_float:
        return "Keep the float model"
    chosen = chosen_trial(study)
    if chosen is None or chosen.comparison is None:
        return f"Deploy {study.choice.trial}"
    ratio = chosen.comparison.ratio
    if ratio.high < 1:
        return f"{1 / ratio.value:.2f} times as fast as float"
    return f"{ratio.value:.3f} of float's time"


def lead(study: Study) -> str:
    """What the answer says of what, in a sentence or two."""
    spent = f"{study.pushes} measurements on the device and {_minutes(study.seconds)}"
    if study.choice is None:
        what = f"The study of {study.project} on {study.device}"
        return f"{what} has no answer so far, after {spent}: the command that began it goes on."
    if study.choice.kept_float:
        return f"{_reason(study)} Found for {study.project} on {study.device} after {spent}."
    return f"{study.choice.trial} is the form of {study.project} to run on {study.device}, found with {spent}."


def cards(study: Study) -> tuple[Card, ...]:
    """The answer's figures: time, accuracy, size."""
    chosen, base = chosen_trial(study), float_trial(study)
    if study.choice is None or chosen is None:
        return ()
    if study.choice.kept_float:
        return (*_rival_card(study), *_time_cards(chosen, None), _size_card(chosen, base))
    qualities = study.choice.test or chosen.quality
    return (*_time_cards(chosen, base), *map(_quality_card, qualities), _size_card(chosen, base))


def _further_words(study: Study) -> tuple[str, ...]:
    """The explanation's sentences, but the one that the lead already says."""
    words = study.choice.explanation.words if study.choice else ()
    return words[1:] if study.choice and study.choice.kept_float else words


def _reason(study: Study) -> str:
    """Why float is kept: the search's own words, else what the measured forms show."""
    words = study.choice.explanation.words if study.choice else ()
    if words:
        return words[0]
    measured = [t for t in study.trials if t.comparison]
    return f"None of the {len(measured)} forms measured is faster by more than the noise and keeps the accuracy."


def _rival_card(study: Study) -> list[Card]:
    """The fastest other form that keeps the accuracy: what float was kept against."""
    rivals = [t for t in study.trials if t.comparison and kind_of(t) != "float" and all(map(keeps, t.quality))]
    best = min(rivals, key=lambda t: t.comparison.ratio.value if t.comparison else 1.0, default=None)
    if best is None or best.comparison is None:
        return []
    ratio = best.comparison.ratio
    note = f"{interval_words(ratio.low, ratio.high, 3)}, float = 1; {best.name}"
    return [Card("the fastest other form", f"{ratio.value:.3f}", note)]


def _time_cards(chosen: Trial, base: Trial | None) -> list[Card]:
    found = []
    if base is not None and chosen.comparison is not None:
        ratio = chosen.comparison.ratio
        interval = f"{interval_words(ratio.low, ratio.high, 3)} at {ratio.confidence:.0%}, {ratio.rounds} rounds"
        found.append(Card("time, float = 1", f"{ratio.value:.3f}", interval, "good" if ratio.high < 1 else "bad"))
    if chosen.measurement is not None:
        wall = chosen.measurement.wall
        before = f"float {time_words(base.measurement.wall.p50_s)}, " if base and base.measurement else ""
        what = "mean call" if wall.told == "mean" else "median call"
        found.append(Card(what, time_words(wall.p50_s), f"{before}{tail_words(wall)}"))
    return found


def _quality_card(quality: Quality) -> Card:
    figure, _, interval = drop_words(quality).partition(" (")
    value = f"{value_words(quality, quality.value)} against {value_words(quality, quality.reference)}"
    scale, unit = scale_of(quality)
    allowed = f", {scale * quality.bound:.2f}{unit} allowed" if quality.bound is not None else ""
    note = f"{interval.rstrip(')')} at 95 %{allowed}; {value} on {quality.samples:,} {quality.split} samples"
    mood = "" if quality.bound is None else "good" if keeps(quality) else "bad"
    return Card(f"{quality.metric} drop", figure, note, mood)


def _size_card(chosen: Trial, base: Trial | None) -> Card:
    before = f"float {size_words(base.size_bytes)}" if base and base is not chosen and base.size_bytes else ""
    if before and chosen.size_bytes and base and base.size_bytes:
        before += f", {chosen.size_bytes / base.size_bytes:.2f} of it"
    return Card("size", size_words(chosen.size_bytes), before)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
