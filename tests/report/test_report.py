"""The page: complete, self-contained, and honest about what a log cannot tell."""

import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.report import write_report
from probscale.report.content import Items, Note, Picture, Row, Section, Table, Text, drawn
from probscale.report.decide import _origin
from probscale.report.fit import _facts, _short, _telling
from probscale.report.page import page
from probscale.report.subject import default_candidates, default_cost, subject_of
from probscale.report.write import _about

SECTIONS = ("data", "fit", "trust", "frontier", "next", "plan", "about")
STEPS = np.geomspace(1e8, 1e10, 6)


class Reader(HTMLParser):
    """Tags with their attributes, identifiers and references of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.open, self.unbalanced = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in {"meta", "link", "br"}:
            self.open.pop()

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.unbalanced.append(tag)

    @property
    def references(self):
        names = ("href", "xlink:href", "src", "srcset", "poster", "action", "data")
        return [found[name] for _, found in self.tags for name in names if name in found]


def frame_of(sizes, rates=(1e-3, 1e-2), steps=STEPS):
    rows = [
        (
            f"n{i}-lr{rate:g}",
            n,
            rate,
            d,
            1.7 + 300 * n**-0.35 + 1200 * d**-0.35 + 0.02 * np.log(rate / 1e-3) ** 2,
        )
        for i, n in enumerate(sizes)
        for rate in rates
        for d in steps
        # Leaves gaps in the grid of settings, which become candidates.
        if i % 3 or rate == rates[0]
    ]
    return pd.DataFrame(rows, columns=["run", "N", "lr", "tokens", "loss"])


def log_of(frame, **roles):
    return ps.RunLog.from_frame(frame, **{"run": "run", "axis": "tokens", "output": "loss"} | roles)


@pytest.fixture(scope="module")
def log():
    return log_of(frame_of(np.geomspace(1e6, 1e8, 6)), params="N")


@pytest.fixture(scope="module")
def path(log, tmp_path_factory):
    target = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    said = []
    found = write_report(
        log, target, embedder=None, unit="nats", title="A <small> family", progress=said.append
    )
    assert found == target
    assert said[0].startswith("fitting 10 runs")
    assert said[-1] == "planning a budget"
    return target


@pytest.fixture(scope="module")
def text(path):
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader(text):
    return Reader(text)


def test_page_asks_the_network_for_nothing(text, reader):
    assert all(reference.startswith(("#", "data:")) for reference in reader.references)
    assert not {"script", "iframe", "object", "embed", "img"} & {tag for tag, _ in reader.tags}
    assert all(place.startswith("#") for place in re.findall(r"url\(['\"]?([^)]*)", text))
    assert "@import" not in text


def test_page_is_well_formed(reader):
    assert not reader.open
    assert not reader.unbalanced
    assert len(reader.ids) == len(set(reader.ids))
    assert {r.removeprefix("#") for r in reader.references if r.startswith("#")} <= set(reader.ids)


def test_every_section_is_there_and_linked(text, reader):
    assert [found["id"] for tag, found in reader.tags if tag == "section"] == list(SECTIONS)
    assert all(f'href="#{key}"' in text for key in SECTIONS)
    assert "This log does not allow an answer" not in text
    assert "<h1>A &lt;small&gt; family</h1>" in text


def test_every_figure_has_a_text_instead_and_units(text):
    figures = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert len(figures) >= 10
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]+"', figure)
        # Matplotlib leaves the words of a label beside their outlines.
        words = " ".join(re.findall(r"<!-- (.*?) -->", figure))
        assert re.search(r"tokens|nats|FLOPs|parameters|%", words), words


def test_the_coverage_at_the_top_says_of_which_runs_it_is(text):
    assert re.search(
        r"<dt>of measurements of runs at random, left out, inside 90&nbsp;% intervals; the largest models \d+&nbsp;%</dt>",
        text,
    )


def test_how_the_page_was_calibrated_is_beside_what_was_modelled(text):
    facts = text[text.index('id="fit"') : text.index('id="trust"')]
    assert re.search(r"width, within the observed scales</t[dh]><td[^>]*>× \d\.\d\d<", facts)
    assert re.search(r"width, beyond</t[dh]><td[^>]*>× \d\.\d\d<", facts)
    assert "intervals, within the observed scales: width ×" in facts


def test_candidates_are_told_by_what_differs_most_between_those_shown():
    known = pd.DataFrame({"c.n": [1, 1, 2], "c.lr": [1e-3, 1e-2, 1e-1], "c.kind": ["a", "a", "a"]})
    varied = _telling(known, np.array([0, 1, 2]))
    assert varied == ["c.lr", "c.n"]
    assert _short(known, 2, varied) == "lr 0.1, n 2"
    assert _short(known.rename(columns={"c.n": "d.lr"}), 2, ["c.lr"]) == "c.lr 0.1"


def test_numbers_of_the_page_are_those_of_the_log(text, log):
    assert f"<dd>{log.n_runs:,}</dd>" in text
    best = log.points["loss"].min()
    assert f"<dd>{best:.4g}</dd>" in text


@pytest.mark.slow
def test_same_log_same_page(path, log, tmp_path):
    """But for the times."""
    surrogate = ps.fit_surrogate(log, embedder=None)
    again = write_report(
        surrogate, tmp_path / "again.html", embedder=None, unit="nats", title="A <small> family"
    )

    def timeless(page):
        return re.sub(r"\d+(\.\d+)? s\b", "", page.read_text(encoding="utf-8"))

    assert timeless(again) == timeless(path)


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    return found


@pytest.mark.parametrize("width", [400, 1280])
def test_a_browser_shows_the_page_without_sideways_scrolling(text, chromium, tmp_path, width):
    # In a frame of that width: windows of a browser cannot be as narrow as a telephone.
    measure = (
        "<script>onload = () => {const d = document.querySelector('iframe').contentDocument.documentElement;"
        "const figures = [...d.querySelectorAll('figure svg')].map(each => each.clientWidth);"
        "Object.assign(document.documentElement.dataset, {width: d.clientWidth, content: d.scrollWidth,"
        "figure: Math.min(...figures)})}</script>"
    )
    frame = f'<iframe style="border:0;width:{width}px;height:900px" srcdoc="{escape(text)}"></iframe>'
    copy = tmp_path / "measured.html"
    copy.write_text(f"<!doctype html><html><body>{frame}{measure}</body></html>", encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--hide-scrollbars",
    ]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom"]
    done = subprocess.run(
        [chromium, *flags, copy.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    shown = dict(re.findall(r'data-(\w+)="(\d+)"', done.stdout[:400]))
    assert int(shown["width"]) == width, done.stderr[-500:]
    assert int(shown["content"]) == width
    assert int(shown["figure"]) >= 0.8 * min(width, 480)


def test_without_a_size_the_frontier_says_why(tmp_path):
    frame = frame_of(np.geomspace(1e6, 1e8, 6)).rename(columns={"tokens": "step"})
    text = write_report(
        log_of(frame.drop(columns="N"), axis="step"), tmp_path / "r.htm", embedder=None, most_runs=8
    ).read_text(encoding="utf-8")
    assert "the log names no model size" in text
    assert text.count("This log does not allow an answer") == 1
    assert "loss (unit of the log)" in text


def test_scores_of_finished_runs_with_a_planned_end_and_tasks(tmp_path):
    """One point a run, larger is better, two tasks, steps: the hardest shape of a log."""
    frame = frame_of(np.geomspace(1e6, 1e8, 5), steps=STEPS[::2])
    frame = frame.rename(columns={"tokens": "steps", "loss": "accuracy"})
    frame = pd.concat([frame.assign(task=t, run=frame["run"] + t) for t in ("a", "b")])
    frame["run"] += frame["steps"].map("-{:g}".format)
    frame["end"] = frame["steps"]
    frame["accuracy"] = 1 / frame["accuracy"] + (frame["task"] == "b") * 0.02
    log = log_of(
        frame, axis="steps", output="accuracy", goal="max", levels=("task",), params="N", horizon="end"
    )
    text = write_report(log, tmp_path / "r.html", embedder=None, most_runs=12).read_text(encoding="utf-8")
    assert "the best, a middling and the worst one" in text
    assert "Tasks are not compared with each other; this is for task " in text
    assert len(re.findall(r"All are of task [ab]; no task has more runs\.", text)) == 2
    assert "was measured at 1 place along steps" in text
    assert "All runs, one point each." in text
    assert "compute (N × steps)" in text
    assert "larger is better" in text
    assert "This log does not allow an answer" not in text


def test_a_tiny_log_still_gives_a_page(tmp_path):
    log = log_of(frame_of([1e6, 1e7], rates=(1e-3,)), params="N")
    text = write_report(log, tmp_path / "r.html", embedder=None).read_text(encoding="utf-8")
    assert "a check leaves runs out and needs at least 6" in text
    assert "the runs have 2 model size(s)" in text
    assert "Forecasts of two configurations: the better and the worse one." in text


def test_files_that_are_no_page_and_empty_pools_are_refused(log, tmp_path):
    with pytest.raises(ConfigError, match=r"cannot write 'report.pdf'.*\.html"):
        write_report(log, tmp_path / "report.pdf")
    surrogate = ps.fit_surrogate(log, embedder=None)
    with pytest.raises(ConfigError, match="pool is empty"):
        write_report(surrogate, tmp_path / "r.html", pool=[])
    with pytest.raises(ConfigError, match="write_report needs a fitted surrogate, got str"):
        write_report("runs.csv", tmp_path / "r.html")
    with pytest.raises(ConfigError, match="cost is 'cheap'; pass a cost model"):
        write_report(surrogate, tmp_path / "r.html", cost="cheap")


def test_where_candidates_come_from_is_said(log, text):
    surrogate = ps.fit_surrogate(log, embedder=None)
    options = {"cost": None, "unit": None, "seed": 0}
    given = subject_of(surrogate, pool=log.configs.head(2), **options)
    assert (given.origin, _origin(given)) == ("given", "2 candidates: as they were given.")
    again = subject_of(
        ps.fit_surrogate(log.select(log.configs["lr"] == 1e-3), embedder=None), pool=None, **options
    )
    assert again.origin == "run before"
    assert "the configurations of the log run once more" in _origin(again)
    assert "run once more, since they leave few others to combine." in text


def test_the_language_model_is_named_where_it_cannot_widen_a_table(log):
    surrogate = ps.fit_surrogate(log, embedder=None)
    report = replace(surrogate.report, embedder="x" * 150)
    subject = subject_of(replace(surrogate, report=report), cost=None, unit=None, pool=None, seed=0)
    rows = {row[0]: row for row in _facts(subject).rows}
    assert rows["time to fit"][2] == "with a language model"
    assert max(len(word) for row in rows.values() for cell in row for word in cell.split()) <= 20
    (details,) = _about(subject, 1.0).parts
    assert f"language model: {'x' * 150}" in details.words


def test_candidates_are_settings_never_run_or_else_those_of_the_log(log):
    frame, gaps = default_candidates(log, seed=0)
    known = set(log.configs.itertuples(index=False, name=None))
    assert gaps is False or not set(frame.itertuples(index=False, name=None)) & known
    full = log.select(log.configs["lr"] == 1e-3)
    again, gaps = default_candidates(full, seed=0)
    assert gaps is False
    assert len(again) == full.n_runs


def test_the_cost_follows_the_axis(log):
    assert default_cost(log).unit == "FLOPs"
    steps = log_of(frame_of([1e6, 1e7]).rename(columns={"tokens": "step"}), axis="step", params="N")
    assert default_cost(steps).unit == "N × step"
    np.testing.assert_allclose(default_cost(steps)([{"N": 2.0}], [3.0]), [[6.0]])
    plain = log_of(frame_of([1e6, 1e7]).drop(columns="N"))
    np.testing.assert_allclose(default_cost(plain)([{}], [3.0]), [[3.0]])


def test_words_of_users_stay_words():
    """Names and notes may hold what looks like HTML."""
    picture = drawn("p", lambda ax: ax.set_title("a < b"), caption="<b>", alt='say "hi"')
    parts = (
        Text("<script>"),
        Note("a & b"),
        Items(("<i>",)),
        Row((picture, Table(("<th>",), (("<td>",),)))),
    )
    text = page("<t>", "", [("1 %", "<dt>")], [Section("s", "<h2>", "<p>", parts)])
    reader = Reader(text)
    assert not reader.unbalanced
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "1&nbsp;%" in text


def test_drawing_twice_gives_the_same_bytes():
    def draw(ax):
        ax.plot([1, 2], [3, 4], label="x")
        ax.legend()

    first, second = (drawn("k", draw, caption="", alt="") for _ in range(2))
    assert isinstance(first, Picture)
    assert first.svg == second.svg


@pytest.mark.slow
def test_report_of_the_bundled_runs_takes_a_minute_at_most(tmp_path):
    import time

    from probscale.runs.bundled import bundled_runs

    start = time.process_time()
    write_report(bundled_runs(), tmp_path / "r.html", unit="nats per byte")
    assert time.process_time() - start < 60
