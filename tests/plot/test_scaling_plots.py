"""Frontier, isoFLOP curves and law: what is drawn is the posterior's own summary."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale import plot
from probscale.errors import ConfigError, ExtrapolationWarning
from probscale.scaling import fit_frontier, fit_isoflops


@pytest.fixture(scope="module")
def frontier(surrogate, cost):
    dearest = cost.spent(surrogate.log).max()
    return fit_frontier(surrogate, compute=np.geomspace(dearest / 100, dearest, 9), cost=cost, samples=64)


def test_frontier_shows_its_mean_its_law_and_the_runs(ax, frontier, log, cost):
    plot.plot_frontier(frontier, log=log, cost=cost, unit="nats", ax=ax)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["expected best"].get_ydata(), frontier.loss.mean)
    (law,) = [line for name, line in lines.items() if name.startswith("law:")]
    np.testing.assert_allclose(law.get_ydata(), frontier.law.predict(frontier.compute).mean)
    assert len(ax.collections[0].get_segments()) == log.n_runs
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("compute (FLOPs)", "loss (nats)")


def test_extrapolation_is_shaded(ax, surrogate, log, cost):
    dearest = cost.spent(log).max()
    pool = log.configs.reset_index(drop=True)
    with pytest.warns(ExtrapolationWarning):
        far = fit_frontier(surrogate, pool, compute=np.geomspace(dearest / 10, 10 * dearest, 5), cost=cost)
    plot.plot_frontier(far, log=log, cost=cost, law=False, ax=ax)
    assert "dearest observed run" in ax.get_legend_handles_labels()[1]


def test_runs_without_a_cost_are_refused(ax, frontier, log):
    with pytest.raises(ConfigError, match="need cost="):
        plot.plot_frontier(frontier, log=log, ax=ax)


def test_isoflop_stars_the_best_size(ax, surrogate, cost):
    isoflops = fit_isoflops(surrogate, compute=[6e16, 6e17], cost=cost, samples=64)
    plot.plot_isoflop(isoflops, unit="nats", ax=ax)
    stars = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "*"]
    assert stars == isoflops.best.tolist()
    assert ax.get_legend().get_title().get_text().startswith("spent on each size")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("N (parameters)", "loss (nats)")


def test_law_posterior_of_one_parameter_states_its_intervals(ax, frontier):
    plot.plot_law_posterior(frontier.law, "exponent", ax=ax)
    low, high = frontier.law.interval(0.9)["exponent"]
    assert f"90 %: {low:.3g} to {high:.3g}" in ax.get_legend_handles_labels()[1]
    assert ax.get_xlabel() == "exponent (no unit)"


def test_law_posterior_of_two_parameters_shows_every_draw(ax):
    x, y = np.random.default_rng(0).standard_normal((2, 400))
    plot.plot_law_posterior(pd.DataFrame({"alpha": x, "E": y}), "alpha", "E", units={"E": "nats"}, ax=ax)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), x)
    assert ax.get_ylabel() == "E (nats)"
    assert "90 % region" in ax.get_legend_handles_labels()[1]


def test_a_fitted_law_is_drawn_by_its_bootstrap_or_its_laplace_approximation(ax):
    runs = ps.simulate_runs("law", n_runs=40, points=2, seed=0).finals().to_frame()
    fit = ps.fit_law("chinchilla", params=runs["params"], tokens=runs["tokens"], loss=runs["loss"], seed=0)
    again = fit.bootstrap(60, seed=0)
    plot.plot_law_posterior(again, "alpha", "beta", ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), again.values["alpha"])
    ax.clear()
    plot.plot_law_posterior(fit, "alpha", ax=ax)
    low, high = fit.interval(0.9).loc["alpha"]
    shown = next(text for text in ax.get_legend_handles_labels()[1] if text.startswith("90 %"))
    assert [float(word) for word in shown.split()[2::2]] == pytest.approx([low, high], rel=0.05)
    with pytest.raises(ConfigError, match=r"no parameter 'exponent'; it has .*alpha"):
        plot.plot_law_posterior(again, ax=ax)


def test_a_parameter_without_spread_can_be_drawn(ax):
    plot.plot_law_posterior({"floor": np.zeros(20), "exponent": np.ones(20)}, "floor", "exponent", ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.zeros(20))
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.ones(20))
    ax.clear()
    plot.plot_law_posterior({"floor": np.zeros(20)}, "floor", ax=ax)
    assert "mean 0" in ax.get_legend_handles_labels()[1]
    assert np.isfinite([*ax.get_xlim(), *ax.get_ylim()]).all()


def test_an_unknown_parameter_is_refused_with_the_known_ones(ax, frontier):
    with pytest.raises(ConfigError, match="no parameter 'gamma'; it has exponent, floor"):
        plot.plot_law_posterior(frontier.law, "gamma", ax=ax)


def test_draws_that_are_not_finite_are_left_out(ax):
    plot.plot_law_posterior({"a": [1.0, 2.0, np.nan, 4.0]}, "a", ax=ax)
    assert "mean 2.33" in ax.get_legend_handles_labels()[1]
    with pytest.raises(ConfigError, match="'a' has no finite draw"):
        plot.plot_law_posterior({"a": []}, "a", ax=ax)


def test_the_legend_of_isoflop_curves_hides_none_of_them(surrogate, cost):
    import matplotlib.pyplot as plt

    isoflops = fit_isoflops(surrogate, compute=np.geomspace(1e16, 1e18, 6), cost=cost, samples=32)
    ax = plot.plot_isoflop(isoflops)
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1
    plt.close(ax.figure)


def band_of(collection):
    """Lower and upper edge of a filled band at its places, (places,) each."""
    x, y = collection.get_paths()[0].vertices.T
    places = np.unique(x)
    return np.array([y[x == at].min() for at in places]), np.array([y[x == at].max() for at in places])


def test_bands_of_a_frontier_are_those_of_the_level_that_is_asked_for(ax, frontier, log, cost):
    plot.plot_frontier(frontier, log=log, cost=cost, level=0.5, compute_unit="GPU hours", ax=ax)
    (band,) = [c for c in ax.collections if "50 %" in str(c.get_label())]
    for drawn, told in zip(band_of(band), frontier.loss.interval(0.5), strict=True):
        np.testing.assert_allclose(drawn, told)
    assert ax.get_xlabel() == "compute (GPU hours)"


def test_bands_of_isoflop_curves_are_those_of_the_level_that_is_asked_for(ax, surrogate, cost):
    isoflops = fit_isoflops(surrogate, compute=[6e17], cost=cost, samples=64)
    plot.plot_isoflop(isoflops, level=0.5, params_unit=None, ax=ax)
    lower, upper = (ends[0] for ends in isoflops.loss.interval(0.5))
    known = np.isfinite(lower)
    drawn = band_of(ax.collections[0])
    np.testing.assert_allclose(drawn, (lower[known], upper[known]))
    assert ax.get_xlabel() == "N"


def test_runs_of_one_point_are_shown_as_points_behind_the_frontier(ax, frontier, log, cost):
    finals = log.finals()
    plot.plot_frontier(frontier, log=finals, cost=cost, ax=ax)
    (behind,) = [line for line in ax.lines if line.get_label() == "observed runs"]
    np.testing.assert_allclose(sorted(behind.get_ydata()), sorted(finals.points["loss"]))


def test_a_posterior_states_the_shares_and_names_that_are_asked_for(ax, frontier):
    plot.plot_law_posterior(frontier.law, "exponent", levels=(0.8,), ax=ax)
    low, high = frontier.law.interval(0.8)["exponent"]
    shown = ax.get_legend_handles_labels()[1]
    assert f"80 %: {low:.3g} to {high:.3g}" in shown
    assert not any("90 %" in name for name in shown)
    ax.clear()
    plot.plot_law_posterior(frontier.law, "exponent", "floor", levels=(0.8,), ax=ax)
    assert "80 % region" in ax.get_legend_handles_labels()[1]
    ax.clear()
    plot.plot_frontier(frontier, output="perplexity", ax=ax)
    assert ax.get_ylabel() == "perplexity"
