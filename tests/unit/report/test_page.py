"""The report: one page that answers in words, shows every figure, trusts no name, and asks no network."""

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.trial import Explanation, Refusal, Study
from edgekit.report.figures import front_figure, prediction_figure
from edgekit.report.page import headline, render
from edgekit.report.rows import trial_rows
from edgekit.report.words import interval_words, size_words, time_words

sys.path.insert(0, str(Path(__file__).parent))
from sample import comparison, float_study, quality, sample_study, trial

HOSTILE = "</script><script>window.hit=1</script><img src=x onerror=window.hit=2>\"'{{7*7}}&amp;"


class Page(HTMLParser):
    """A page's tags, its text outside scripts, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._raw = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw == "script":
            self.scripts.append(data)
        elif not self._raw:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def hostile_study() -> Study:
    study = sample_study()
    assert study.choice is not None
    layers = tuple(
        msgspec.structs.replace(layer, layer=HOSTILE, reason=HOSTILE, runner_up=HOSTILE)
        for layer in study.choice.explanation.layers
    )
    mixed = msgspec.structs.replace(study.trials[-8], name=HOSTILE)
    evil = msgspec.structs.replace(mixed.quality[0], metric=HOSTILE)
    choice = msgspec.structs.replace(
        study.choice, explanation=Explanation(layers=layers, words=(HOSTILE,)), test=(evil,), artifact=HOSTILE
    )
    return msgspec.structs.replace(
        study, project=HOSTILE, model=HOSTILE, device=HOSTILE, target=HOSTILE, trials=(*study.trials, mixed),
        refusals=(Refusal(what=HOSTILE, reason=HOSTILE),), choice=choice, versions=((HOSTILE, HOSTILE),),
    )  # fmt: skip


def test_the_answer_comes_first_with_its_intervals() -> None:
    text = Page(render(sample_study())).text
    answer = text[: text.index("Time against loss")]
    said = (
        "3.02 times as fast as float", "0.331", "0.327 to 0.335 at 95%", "0.18 points", "−0.01 to 0.39 at 95 %",
        "0.50 points allowed", "94.00 % against 94.18 %", "10,000 test samples", "211 kB", "mix-23",
    )  # fmt: skip
    for words in said:
        assert words in answer, words


def test_keep_float_is_answered_with_the_reason_and_the_rival() -> None:
    page = Page(render(float_study()))
    for words in (
        "Keep the float model",
        "no form is better by more than the noise",
        "QuantizeLinear",
        "1.080",
        "form-0",
    ):
        assert words in page.text, words
    assert page.text.count("no form is better by more than the noise") == 1


def test_keep_float_without_the_searchs_words_still_has_a_reason() -> None:
    study = float_study()
    assert study.choice is not None
    silent = msgspec.structs.replace(study, choice=msgspec.structs.replace(study.choice, explanation=Explanation()))
    assert "None of the 5 forms measured is faster" in Page(render(silent)).text


def test_a_study_that_only_began_has_a_page() -> None:
    began = Study(
        id="a1", project="p", model="m", device="d", target="t", minimise="latency", max_drop=0.01, trials=(), pushes=0
    )
    page = Page(render(began))
    assert "No choice yet" in page.text
    assert "0 measurements on the device and 0 seconds" in page.text
    assert not any("Plotly" in s and len(s) > 1_000_000 for s in page.scripts), "no plot, and yet plotly.js"


def test_every_trial_layer_refusal_condition_and_version_is_on_the_page() -> None:
    study = sample_study()
    assert study.choice is not None
    text = Page(render(study)).text
    for name in (t.name for t in study.trials):
        assert name in text
    for layer in study.choice.explanation.layers:
        assert layer.layer in text
        assert layer.reason in text
    assert "12 of 16" in text
    assert "−0.004 ms" in text
    for refusal in study.refusals:
        assert f"{refusal.what} : {refusal.reason}" in text
    for _, version in study.versions:
        assert version in text
    for condition in ("performance", "2400 MHz", "onnxruntime 1.24.1", "47.6 to 54.0 °C", "0.21"):
        assert condition in text, condition


def test_the_page_refers_to_nothing_outside_itself() -> None:
    html = render(sample_study())
    page = Page(html)
    loading = [(tag, a) for tag, a in page.tags if {"src", "href", "srcset", "action", "data"} & set(a)]
    assert loading == []
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "img"} == set()
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert html.count("Plotly.react(name") == 1
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1, "plotly.js is in the page once"


def test_hostile_names_are_shown_as_text_and_change_no_markup() -> None:
    plain, evil = Page(render(sample_study())), Page(render(hostile_study()))
    assert {t for t, _ in evil.tags} == {t for t, _ in plain.tags}
    assert len([t for t, _ in evil.tags if t == "script"]) == len([t for t, _ in plain.tags if t == "script"])
    assert "{{7*7}}" in evil.text
    data = evil.scripts[-1]
    assert "<img" not in data
    assert "</script" not in data.lower()
    hovers = [text for trace in _figures(evil)["front"]["data"] for text in trace.get("text", [])]
    assert any("&lt;img" in text for text in hovers)
    assert not any("<img" in text or "<script" in text for text in hovers), "plotly reads markup in hover texts"


@settings(max_examples=30, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_name_breaks_the_page(name: str) -> None:
    study = msgspec.structs.replace(sample_study(), project=name, trials=(trial(name, 0.5, 0.001),), choice=None)
    page = Page(render(study))
    assert _figures(page)["front"]["data"][0]["x"] == [0.5]
    assert len([t for t, _ in page.tags if t == "script"]) == 2


def test_equal_studies_give_equal_pages() -> None:
    assert render(sample_study()) == render(sample_study())


def test_the_front_has_each_measured_form_once_by_kind_and_rings_the_chosen() -> None:
    study = sample_study()
    figure = front_figure(study)
    assert figure is not None
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert {name: len(trace["x"]) for name, trace in traces.items()} == {
        "float": 1, "uniform": 7, "mixed": 24, "chosen": 1
    }  # fmt: skip
    assert (traces["float"]["x"], traces["float"]["y"]) == ([1.0], [0.0])
    chosen = next(t for t in study.trials if t.name == "mix-23")
    assert chosen.comparison is not None
    ratio, drop = chosen.comparison.ratio, chosen.quality[0]
    assert traces["chosen"]["x"] == [ratio.value]
    assert traces["chosen"]["y"] == pytest.approx([100 * drop.drop])
    place = traces["mixed"]["x"].index(ratio.value)
    assert traces["mixed"]["error_x"]["arrayminus"][place] == pytest.approx(ratio.value - ratio.low)
    assert traces["mixed"]["error_y"]["array"][place] == pytest.approx(100 * (drop.drop_high - drop.drop))


def test_predictions_are_plotted_only_where_there_is_a_measurement() -> None:
    figure = prediction_figure(sample_study())
    assert figure is not None
    assert sum(len(trace["x"]) for trace in figure["data"]) == 31
    assert prediction_figure(msgspec.structs.replace(sample_study(), trials=())) is None


def test_a_figure_in_its_own_unit_is_not_called_points() -> None:
    odd = msgspec.structs.replace(quality(0.0), metric="psnr", value=31.5, reference=32.0, drop=0.5, drop_low=0.4,
                                  drop_high=0.6, bound=1.0)  # fmt: skip
    only = msgspec.structs.replace(trial("one", 0.5, 0.0), quality=(odd,))
    study = msgspec.structs.replace(sample_study(), trials=(sample_study().trials[0], only), choice=None)
    figure = front_figure(study)
    assert figure is not None
    row = next(r for r in trial_rows(study) if r.cells[0].text == "one")
    assert (row.cells[5].text, row.cells[5].note) == ("0.50", "0.40 to 0.60")


def test_a_trial_says_what_came_of_it() -> None:
    study = sample_study()
    standing = {row.cells[0].text: row.cells[-1].text for row in trial_rows(study)}
    assert standing["mix-23"] == "chosen"
    assert standing["float"] == "the reference"
    assert standing["int8 ×0.25"] == "loses too much"
    assert standing["mix-05"] == "faster"
    fits = msgspec.structs.replace(study.trials[-1], quality=(quality(0.0),))
    assert trial_rows(msgspec.structs.replace(study, trials=(fits,)))[0].cells[-1].text == "not measured"


def test_a_choice_that_is_not_surely_faster_is_not_called_faster() -> None:
    study = sample_study()
    wide = msgspec.structs.replace(study.trials[-5], comparison=comparison("x", 0.99, 0.05))
    study = msgspec.structs.replace(study, trials=(study.trials[0], wide))
    assert headline(study) == "0.990 of float's time"


@given(st.floats(1e-9, 1e4), st.integers(0, 10**13))
def test_times_and_sizes_always_have_a_unit(seconds: float, size_bytes: int) -> None:
    assert re.fullmatch(r"\d+(\.\d+)? (s|ms|µs)", time_words(seconds))
    assert re.fullmatch(r"\d+(\.\d+)? (GB|MB|kB|B)", size_words(size_bytes))
    assert interval_words(-0.0004, 0.0, 2) == "0.00 to 0.00"


def test_the_report_loads_no_torch_and_no_sql() -> None:
    code = (
        "import sys, edgekit.report.page; print(sorted({'torch','sqlalchemy','paramiko','scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_the_plots_fits_the_width_runs_no_name_and_sorts(tmp_path: Path, width: int) -> None:
    """In a frame of `width`, the page runs as in a window; what it finds is written into the outer page's title."""
    (tmp_path / "report.html").write_text(render(hostile_study()))
    (tmp_path / "frame.html").write_text(
        f"""<!doctype html><meta charset=utf-8>
        <iframe id=f src=report.html style="width:{width}px;height:4000px;border:0"></iframe>
        <script>f.onload = () => setTimeout(() => {{
          const d = f.contentDocument, w = f.contentWindow, head = d.querySelectorAll("table.trials thead th")[2];
          const first = () => d.querySelector("table.trials tbody tr").cells[2].dataset.key;
          head.firstElementChild.click(); const least = first(); head.firstElementChild.click();
          document.documentElement.dataset.found = JSON.stringify({{
            plots: d.querySelectorAll(".plot .main-svg").length,
            drawn: Math.max(...[...d.querySelectorAll(".main-svg")].map(one => one.getBoundingClientRect().right)),
            hit: w.hit || 0, wide: d.documentElement.scrollWidth,
            least: +least, most: +first(), requests: w.performance.getEntriesByType("resource").length }});
        }}, 500)</script>"""
    )
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path}/u", "--allow-file-access-from-files",
        "--virtual-time-budget=8000", "--window-size=1300,4100", "--dump-dom",
        f"file://{tmp_path}/frame.html",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ})
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    seen = json.loads(found[1].replace("&quot;", '"'))
    assert seen["plots"] >= 2
    assert seen["hit"] == 0, "a name ran as a script"
    assert seen["wide"] <= width, "the page is wider than its window"
    assert seen["drawn"] <= width, "a plot is cut off"
    assert seen["requests"] == 0
    assert seen["least"] < seen["most"]


def _figures(page: Page) -> dict[str, dict[str, list[dict[str, list[float]]]]]:
    found = re.search(r"^const figures = (.*);$", page.scripts[-1], re.MULTILINE)
    assert found is not None
    figures: dict[str, dict[str, list[dict[str, list[float]]]]] = json.loads(found[1])
    return figures
