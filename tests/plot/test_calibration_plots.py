"""Parity and reliability: counts in the legend are counts in the data."""

import numpy as np
import pytest

from probscale import plot
from probscale.errors import ShapeError


def test_parity_counts_what_lies_inside(ax):
    truth = np.array([[1.0, 2.0], [3.0, np.nan]])
    mean = np.array([[1.1, 2.0], [2.0, 2.0]])
    plot.plot_parity(truth, mean, (mean - 0.5, mean + 0.5), output="loss", unit="nats", ax=ax)
    assert ax.get_legend_handles_labels()[1] == [
        "forecast = measured",
        "2 inside the 90 % interval",
        "1 outside",
    ]
    assert ax.get_xlabel() == "measured loss (nats)"
    assert ax.get_ylabel() == "forecast loss (nats)"


def test_parity_names_the_level_of_its_intervals(ax):
    for level, name in ((0.5, "50 %"), (0.995, "99.5 %"), (0.55, "55 %")):
        ax.clear()
        plot.plot_parity([1.0], [1.0], ([0.5], [1.5]), level=level, ax=ax)
        assert f"1 inside the {name} interval" in ax.get_legend_handles_labels()[1]


def test_parity_without_intervals_counts_points(ax):
    plot.plot_parity([1, 2, 3], [1, 2, 3], ax=ax)
    assert "3 points" in ax.get_legend_handles_labels()[1]


def test_reliability_adds_series_to_one_diagonal(ax):
    levels = np.array([0.5, 0.8, 0.9])
    plot.plot_reliability(levels, levels - 0.1, errors=[0.02] * 3, label="a", ax=ax)
    plot.plot_reliability(levels, levels + 0.05, label="b", series=1, ax=ax)
    assert [text.get_text() for text in ax.texts] == ["intervals too wide", "intervals too narrow"]
    names = ax.get_legend_handles_labels()[1]
    assert names == ["a", "b"]
    np.testing.assert_allclose(ax.containers[0].lines[0].get_ydata(), [40, 70, 80])
    assert "%" in ax.get_xlabel()
    assert "%" in ax.get_ylabel()


def test_shapes_and_shares_are_checked(ax):
    with pytest.raises(ShapeError, match="differ in shape"):
        plot.plot_parity([1, 2], [1], ax=ax)
    with pytest.raises(ShapeError, match="finite truth and a finite mean"):
        plot.plot_parity([np.nan], [1], ax=ax)
    with pytest.raises(ShapeError, match="divide per cent by 100"):
        plot.plot_reliability([50, 90], [40, 85], ax=ax)
    with pytest.raises(ShapeError, match="differ in shape"):
        plot.plot_reliability([0.5], [0.5, 0.4], ax=ax)
    with pytest.raises(ShapeError, match="nominal and observed are empty"):
        plot.plot_reliability([], [], ax=ax)


def test_parity_leaves_out_what_has_no_forecast(ax):
    plot.plot_parity([1.0, 2.0], [np.nan, 2.0], ax=ax)
    assert "1 points" in ax.get_legend_handles_labels()[1]


@pytest.mark.parametrize(("values", "scale"), [((0.001, 0.4, 0.7, 1.0), "linear"), ((1, 2, 3, 30), "log")])
def test_parity_is_logarithmic_only_where_a_linear_scale_would_hide_most(ax, values, scale):
    plot.plot_parity(values, np.array(values) * 1.01, ax=ax)
    assert (ax.get_xscale(), ax.get_yscale()) == (scale, scale)


def test_the_legend_of_reliability_hides_no_line():
    import matplotlib.pyplot as plt

    ax = plot.plot_reliability([0.1, 0.5, 0.9], [1.0, 1.0, 1.0], label="all inside")
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1
    plt.close(ax.figure)
