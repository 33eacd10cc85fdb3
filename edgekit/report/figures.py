"""The two plots of a report as plotly figures: plain data, with colours named by the page's CSS variables."""

from html import escape
from typing import Any

from edgekit.core.trial import Study, Trial
from edgekit.report.words import (
    chosen_trial,
    deciding,
    drop_words,
    kind_of,
    predicted_ratio,
    ratio_words,
    scale_of,
    size_words,
)

Figure = dict[str, Any]

# Kind of trial: plotly's symbol, its size. The colour is the CSS variable of the same name.
SYMBOLS = {"float": ("diamond", 13), "uniform": ("square", 10), "mixed": ("circle", 9)}


def front_figure(study: Study) -> Figure | None:
    """The ratio to float's time against the drop, with both intervals; None where nothing was measured and scored."""
    metric = _axis_metric(study)
    points = [
        (trial, deciding(trial, metric)) for trial in study.trials if trial.comparison or kind_of(trial) == "float"
    ]
    scored = [(trial, quality) for trial, quality in points if quality is not None or kind_of(trial) == "float"]
    first = next((quality for _, quality in scored if quality is not None), None)
    if first is None:
        return None
    scale, unit = scale_of(first)
    traces = [_front_trace(kind, [t for t, _ in scored if kind_of(t) == kind], metric, scale) for kind in SYMBOLS]
    lines = [_line("x", 1.0)]
    if first.bound is not None:
        lines.append({**_line("y", scale * first.bound), "label": _label("allowed")})
    chosen = chosen_trial(study)
    if chosen is not None and any(trial is chosen for trial, _ in scored):
        traces.append(_ring(_place(chosen, metric, scale)))
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": _layout("time, float = 1", f"drop of {first.metric}{',' + unit if unit else ''}", lines),
    }


def prediction_figure(study: Study) -> Figure | None:
    """Predicted against measured ratios to float's time; None where nothing has both."""
    traces, seen = [], []
    for kind in ("uniform", "mixed"):
        pairs = [
            (trial, predicted, trial.comparison.ratio)
            for trial in study.trials
            if kind_of(trial) == kind
            and trial.comparison is not None
            and (predicted := predicted_ratio(study, trial)) is not None
        ]
        seen += [value for _, predicted, ratio in pairs for value in (predicted, ratio.value)]
        traces.append(
            {
                **_markers(kind),
                "x": [predicted for _, predicted, _ in pairs],
                "y": [ratio.value for _, _, ratio in pairs],
                "error_y": _errors([(r.value - r.low, r.high - r.value) for _, _, r in pairs], kind),
                "text": [
                    f"<b>{escape(trial.name)}</b><br>predicted {predicted:.3f}<br>measured {ratio_words(ratio)}"
                    for trial, predicted, ratio in pairs
                ],
            }
        )
    if not seen:
        return None
    low, high = min(seen) * 0.95, max(seen) * 1.05
    equal = {"type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "line": _stroke("dot"), "layer": "below"}
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": _layout("predicted time, float = 1", "measured time, float = 1", [equal]),
    }


def _axis_metric(study: Study) -> str | None:
    """One metric for all points: that which binds the chosen form, or the first form that has one."""
    chosen = chosen_trial(study)
    for trial in (*((chosen,) if chosen else ()), *study.trials):
        quality = deciding(trial)
        if quality is not None:
            return quality.metric
    return None


def _front_trace(kind: str, trials: list[Trial], metric: str | None, scale: float) -> Figure:
    """One kind's points with their error bars."""
    places = [_place(trial, metric, scale) for trial in trials]
    ratios = [t.comparison.ratio if t.comparison and kind != "float" else None for t in trials]
    drops = [deciding(t, metric) for t in trials]
    return {
        **_markers(kind),
        "x": [x for x, _ in places],
        "y": [y for _, y in places],
        "error_x": _errors([(r.value - r.low, r.high - r.value) if r else (0.0, 0.0) for r in ratios], kind),
        "error_y": _errors(
            [(scale * (q.drop - q.drop_low), scale * (q.drop_high - q.drop)) if q else (0.0, 0.0) for q in drops], kind
        ),
        "text": [_hover(trial, metric) for trial in trials],
    }


def _place(trial: Trial, metric: str | None, scale: float) -> tuple[float, float]:
    """A trial's place on the front: float is at (1, 0) by definition."""
    quality = deciding(trial, metric)
    if kind_of(trial) == "float" or trial.comparison is None or quality is None:
        return 1.0, 0.0
    return trial.comparison.ratio.value, scale * quality.drop


def _hover(trial: Trial, metric: str | None) -> str:
    """What is shown when a point is pointed at."""
    quality = deciding(trial, metric)
    lines = [f"<b>{escape(trial.name)}</b>"]
    if trial.comparison is not None and kind_of(trial) != "float":
        lines.append(f"time {ratio_words(trial.comparison.ratio)}")
    if quality is not None:
        lines.append(f"{escape(quality.metric)} drop {drop_words(quality)}")
    if trial.size_bytes is not None:
        lines.append(size_words(trial.size_bytes))
    return "<br>".join(lines)


def _markers(kind: str) -> Figure:
    symbol, size = SYMBOLS[kind]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": kind,
        "marker": {"symbol": symbol, "size": size, "color": f"--{kind}", "line": {"width": 1, "color": "--card"}},
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ring(place: tuple[float, float]) -> Figure:
    """The mark around the chosen point."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "chosen",
        "x": [place[0]],
        "y": [place[1]],
        "marker": {"symbol": "circle-open", "size": 22, "color": "--chosen", "line": {"width": 3, "color": "--chosen"}},
        "hoverinfo": "skip",
    }


def _errors(sides: list[tuple[float, float]], kind: str) -> Figure:
    """Unlike error bars to both sides."""
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [max(0.0, low) for low, _ in sides],
        "array": [max(0.0, high) for _, high in sides],
        "color": f"--{kind}",
        "thickness": 1,
        "width": 0,
    }


def _line(axis: str, value: float) -> Figure:
    """A dashed line across the plot at `value` of `axis`."""
    other = "y" if axis == "x" else "x"
    ends = {f"{axis}0": value, f"{axis}1": value, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return {"type": "line", "line": _stroke("dash"), "layer": "below", **ends}


def _label(text: str) -> Figure:
    return {"text": text, "textposition": "end", "font": {"size": 12, "color": "--faint"}}


def _stroke(dash: str) -> Figure:
    return {"dash": dash, "width": 1, "color": "--faint"}


def _layout(across: str, up: str, shapes: list[Figure]) -> Figure:
    axis = {"gridcolor": "--grid", "zerolinecolor": "--grid", "linecolor": "--grid", "automargin": True}
    return {
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "--soft"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "xaxis": {**axis, "title": {"text": escape(across)}},
        "yaxis": {**axis, "title": {"text": escape(up)}},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "--card", "bordercolor": "--grid", "font": {"color": "--ink"}, "align": "left"},
        "shapes": shapes,
    }
