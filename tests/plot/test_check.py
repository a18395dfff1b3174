"""Pictures of a check: what they show is what the report holds."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.evaluate import check
from probscale.plot import draw_check_curves, plot_check
from probscale.plot.check import _ranked
from probscale.surrogate.options import FitOptions

mpl.use("agg")


@pytest.fixture(scope="module")
def log():
    return ps.simulate_runs("law", n_runs=12, points=8, seed=4)


@pytest.fixture(scope="module")
def report(log):
    quick = FitOptions(subset=60, iterations=3, rounds=1)
    return check(log, regimes=("in-distribution", "prefix"), embedder=None, folds=1, options=quick)


def test_reliability_of_every_regime_is_the_share_of_points_inside(report):
    ax = plot_check(report)
    for container, name in zip(ax.containers, report.regimes, strict=True):
        assert container.get_label() == name
        held = dict(zip(*container[0].get_data(), strict=True))
        assert held[90.0] == pytest.approx(100 * report.table.loc[name, "coverage_90"])


def test_curves_show_measured_points_and_what_was_seen_of_begun_runs(report, log):
    figure = draw_check_curves(report, log=log)
    panels = [ax for ax in figure.axes if ax.get_title("left")]
    assert len(panels) == 3 * len(report.regimes)
    for ax in panels:
        regime, run = ax.get_title("left").split(":")[0], ax.get_title("left").split("\n")[1]
        lines = {line.get_label(): line.get_data() for line in ax.lines}
        points = report.points[report.points["regime"] == regime]
        assert list(lines["measured, not seen"][1]) == list(points.loc[points["run"] == run, "truth"])
        assert ("seen" in lines) == regime.startswith("prefix")
        if "seen" in lines:
            # A line of one point alone would be invisible.
            assert {line.get_marker() for line in ax.lines if line.get_label() == "seen"} == {"o"}
            assert lines["seen"][0].max() < lines["measured, not seen"][0].min()
            # What was seen may leave the picture at the top, with one point; what was foretold fills it.
            low, high = ax.get_ylim()
            assert np.sum((lines["seen"][1] < low) | (lines["seen"][1] > high)) <= 1
            ahead = points[points["run"] == run][["lower_90", "upper_90", "truth"]].to_numpy()
            ends = np.append(ahead, lines["seen"][1][-1])
            assert np.ptp(ax.get_ylim()) == pytest.approx(1.1 * np.ptp(ends))
    figure.savefig("/dev/null", format="png")


def test_the_legend_shows_bands_as_areas_though_some_panels_have_a_single_point(report, log):
    last = report.points["regime"] == report.regimes[-1]
    single = report.points[last].groupby("run", sort=False).tail(1)
    figure = draw_check_curves(replace(report, points=pd.concat([report.points[~last], single])), log=log)
    (legend,) = figure.legends
    handles = dict(zip([text.get_text() for text in legend.get_texts()], legend.legend_handles, strict=True))
    assert isinstance(handles["90 % interval"], mpl.patches.Rectangle)
    assert isinstance(handles["50 % interval"], mpl.patches.Rectangle)


def test_a_regime_that_was_not_checked_is_refused(report):
    with pytest.raises(ConfigError, match="the report has in-distribution, prefix 10 %"):
        plot_check(report, regimes=["larger scale"])


def test_finals_are_drawn_as_bars(log):
    quick = FitOptions(subset=60, iterations=3, rounds=1)
    report = check(log.finals(), regimes="in-distribution", embedder=None, folds=1, options=quick)
    figure = draw_check_curves(report)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert set(labels) == {"90 % interval", "50 % interval", "forecast median", "measured, not seen"}


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (2, 2), (3, 3), (5, 3)])
def test_no_run_is_shown_twice(report, count, shown):
    points = report.points[report.points["regime"] == report.regimes[0]]
    few = points[points["run"].isin(list(dict.fromkeys(points["run"]))[:1])]
    runs = pd.concat([few.assign(run=i, crps=few["crps"] * (i + 1)) for i in range(count)])
    found = _ranked(runs)
    assert len(set(found.values())) == shown
    assert found["worst run"] == count - 1
