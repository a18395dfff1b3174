"""Fans: what is drawn is what was predicted, and runs are found by their names."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from probscale import plot
from probscale.errors import ConfigError, ShapeError

AT = np.geomspace(1e8, 1e10, 9)


def fan_edges(collection):
    """Lower and upper edge of a filled band, at its distinct places."""
    vertices = collection.get_paths()[0].vertices
    places = np.unique(vertices[:, 0])
    columns = [vertices[np.isclose(vertices[:, 0], x), 1] for x in places]
    return np.array([c.min() for c in columns]), np.array([c.max() for c in columns])


def test_fan_is_the_predicted_interval(ax, surrogate, log):
    curves = surrogate.predict(log.configs.iloc[:1].reset_index(drop=True), AT)
    assert plot.plot_curves(curves, levels=(0.5, 0.9), unit="nats", ax=ax) is ax
    for band, level in zip(ax.collections, (0.9, 0.5), strict=True):
        lower, upper = curves.interval(level)
        np.testing.assert_allclose(fan_edges(band), (lower[0], upper[0]))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), curves.mean[0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("tokens", "loss (nats)")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")


def test_prefix_and_truth_are_drawn_for_runs_of_their_logs(ax, surrogate, log):
    curves = surrogate.predict(log.configs.iloc[:3], AT)
    plot.plot_curves(curves, observed=log.truncate(fraction=0.2), truth=log, ax=ax)
    names = ax.get_legend_handles_labels()[1]
    assert names[-2:] == ["observed", "measured later"]
    assert set(names) >= set(log.runs[:3])
    prefix = ax.lines[3].get_xdata()
    assert prefix.max() <= 0.2 * 1e10
    np.testing.assert_allclose(ax.lines[6].get_xdata(), log.points["tokens"][:6])


def test_runs_are_found_by_the_names_that_the_configurations_give(ax, surrogate, log):
    first, second = log.runs[:2]
    curves = surrogate.predict([{log.roles.run: second}, {log.roles.run: first}], AT)
    plot.plot_curves(curves, observed=log, ax=ax)
    assert {first, second} <= set(ax.get_legend_handles_labels()[1])
    points = log.points[log.points[log.roles.run] == second]
    np.testing.assert_allclose(ax.lines[2].get_ydata(), points[log.output])


def test_measurements_may_come_as_arrays_by_index(ax, surrogate, log):
    curves = surrogate.predict(log.configs.iloc[:2].reset_index(drop=True), AT)
    plot.plot_curves(curves, truth={1: ([1e9], [3.0])}, labels=["a", "b"], ax=ax)
    assert ax.lines[-1].get_ydata().tolist() == [3.0]
    assert ax.get_legend_handles_labels()[1] == ["a", "b", "measured later"]


def test_runs_that_no_log_has_are_refused_with_the_remedy(ax, surrogate, log):
    curves = surrogate.predict(log.configs.iloc[:2].reset_index(drop=True), AT)
    with pytest.raises(ConfigError, match="no run 0; curves are matched by the run column or the index"):
        plot.plot_curves(curves, observed=log, ax=ax)
    with pytest.raises(ShapeError, match="1 labels for 2 configurations"):
        plot.plot_curves(curves, labels=["a"], ax=ax)
    with pytest.raises(ConfigError, match=r"draws a forecast, .* got a RunLog"):
        plot.plot_curves(log, ax=ax)
    with pytest.raises(ConfigError, match="level is 2"):
        plot.plot_curves(curves, levels=(2,), ax=ax)
    with pytest.raises(ConfigError, match="level is 90"):
        plot.plot_fan([1, 2], [1, 1], {90: ([0, 0], [2, 2])}, ax=ax)


def test_without_axes_a_new_figure_is_made(surrogate, log):
    curves = surrogate.predict(log.configs.iloc[:1], AT)
    before = plt.rcParams["font.size"]
    ax = plot.plot_curves(curves, truth=log)
    assert ax.figure.number in plt.get_fignums()
    assert plt.rcParams["font.size"] == before
    plt.close(ax.figure)


def test_a_fan_at_one_place_is_seen(ax):
    plot.plot_fan([1e9], [3.0], {0.5: ([2.9], [3.1]), 0.9: ([2.7], [3.3])}, ax=ax)
    (line,) = ax.lines
    assert (line.get_marker(), line.get_label()) == ("_", "forecast mean")
    ends = [bars.get_segments()[0][:, 1].tolist() for bars in ax.collections]
    assert ends == [[2.7, 3.3], [2.9, 3.1]]
    assert ax.collections[0].get_linewidth() < ax.collections[1].get_linewidth()


def test_long_names_leave_room_for_the_curves(ax, surrogate, log):
    names = [f"run {i} {'of a sweep ' * 8} seed {i}" for i in range(3)]
    curves = surrogate.predict(log.configs.iloc[:3].reset_index(drop=True), AT)
    plot.plot_curves(curves, labels=names, ax=ax)
    shown = [text.get_text() for text in ax.get_legend().get_texts()]
    assert all(len(text) <= 40 for text in shown)
    assert [(text[:5], text[-6:]) for text in shown] == [(f"run {i}", f"seed {i}") for i in range(3)]
