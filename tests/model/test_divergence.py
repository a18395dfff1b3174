"""Divergence: a cluster beyond a valley is set apart, and a classifier says how probable it is."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import norm

from probscale.model.divergence import (
    beside_own_value,
    divergence_model,
    divergence_threshold,
    fit_divergence,
)
from probscale.model.gp import CurveProcess
from probscale.model.layout import Layout
from probscale.model.means import PlaneMean, Rows
from tolerances import ALGEBRA


@pytest.fixture
def process(make_law):
    plane = PlaneMean(make_law().scale, level=0.0, spread=1.0)
    return CurveProcess(Layout(("lr",)), plane, scale=1.0, noise=0.1)


def line(values):
    x = torch.as_tensor(np.asarray(values, dtype=np.float64))
    return Rows(x[:, None], torch.zeros_like(x), torch.zeros_like(x))


def test_a_cluster_beyond_a_valley_is_found():
    rng = np.random.default_rng(0)
    excess = np.r_[0.03 * rng.standard_normal(90), 1.5 + 0.2 * rng.standard_normal(10)]
    threshold = divergence_threshold(excess, 0.03)
    assert threshold is not None
    assert ((excess > threshold) == (np.arange(100) >= 90)).all()


def test_a_steady_tail_is_left_alone():
    excess = np.r_[0.03 * np.random.default_rng(1).standard_normal(80), np.linspace(0.0, 0.9, 30)]
    assert divergence_threshold(excess, 0.03) is None


@pytest.mark.parametrize("far", [0, 1, 2])
def test_one_or_two_far_runs_are_no_cluster(far):
    excess = np.r_[0.03 * np.random.default_rng(2).standard_normal(60), np.full(far, 2.0)]
    assert divergence_threshold(excess, 0.03) is None


def test_half_of_the_runs_cannot_have_diverged():
    assert divergence_threshold(np.r_[np.zeros(30), np.full(30, 2.0)], 0.03) is None


def test_runs_better_than_the_law_have_not_diverged():
    assert divergence_threshold(np.r_[np.zeros(50), np.full(8, -2.0)], 0.03) is None


def test_a_wide_bulk_raises_the_threshold():
    excess = np.r_[np.zeros(50), np.full(8, 0.9)]
    assert divergence_threshold(excess, 0.05) is not None
    assert divergence_threshold(excess, 0.3) is None


def cluster(place, count=20, *, bulk=80):
    """Excesses of runs on the law, and of some far above it."""
    return np.r_[np.zeros(bulk), np.full(count, place)]


@pytest.mark.parametrize(
    ("spread", "threshold"),
    [(0.01, 0.4), (0.066, 0.4), (0.067, 0.5), (0.083, 0.5), (0.084, 0.6), (0.101, 0.8), (0.134, 1.0),
     (0.167, 1.3), (0.217, 1.6), (0.266, 1.6), (0.267, None)],
)  # fmt: skip
def test_the_threshold_is_the_first_six_spreads_beyond_the_law(spread, threshold):
    assert divergence_threshold(cluster(4.0), spread) == threshold


@pytest.mark.parametrize(("count", "found"), [(2, False), (3, True), (40, True), (41, False)])
def test_between_three_runs_and_two_in_five_make_a_cluster(count, found):
    excess = cluster(2.0, count, bulk=100 - count)
    assert (divergence_threshold(excess, 0.03) is not None) == found


@pytest.mark.parametrize(("between", "threshold"), [(7, 0.4), (8, 0.6)])
def test_a_valley_holds_at_most_a_third_as_many_runs_as_lie_beyond(between, threshold):
    excess = np.r_[cluster(2.0), np.full(between, 0.3)]
    assert divergence_threshold(excess, 0.03) == threshold


@pytest.mark.parametrize(("edge", "threshold"), [(0.2, 0.4), (0.4, 0.8)])
def test_a_valley_reaches_from_half_a_threshold_to_the_threshold_itself(edge, threshold):
    assert divergence_threshold(np.r_[cluster(2.0), np.full(8, edge)], 0.03) == threshold


@pytest.mark.parametrize(("place", "found"), [(0.519, False), (0.521, True)])
def test_a_cluster_lies_clearly_beyond_its_threshold(place, found):
    assert (divergence_threshold(cluster(place), 0.03) is not None) == found


def test_the_mode_is_the_kernel_times_the_slope_of_the_likelihood(process):
    x = torch.linspace(-3, 3, 30, dtype=torch.float64)
    diverged = np.sin(3 * x.numpy()) > 0.5
    model = fit_divergence(process, line(x), diverged)
    kernel = 2.5**2 / process.kernel(x[:1, None], diag=True) * process.kernel(x[:, None], x[:, None])
    latent = (kernel @ model.gradient).detach().numpy() + model.offset
    label = np.where(diverged, 1.0, -1.0)
    np.testing.assert_allclose(model.gradient, label * norm.pdf(latent) / ndtr(label * latent), rtol=1e-5)


def test_probability_rises_where_runs_diverged(process):
    x = np.linspace(-3, 3, 40)
    model = fit_divergence(process, line(x), x > 1.5)
    assert model.count == int((x > 1.5).sum())
    asked = model.probability(line([-3.0, 0.0, 1.0, 2.0, 3.0]))
    assert ((asked > 0) & (asked < 1)).all()
    assert asked[0] < 0.1
    assert asked[-1] > 0.8
    assert (np.diff(asked[1:]) > 0).all()


def test_far_from_all_runs_the_probability_is_the_base_rate(process):
    diverged = np.arange(20) < 4
    model = fit_divergence(process, line(np.linspace(-1, 1, 20)), diverged)
    assert model.probability(line([1e3]))[0] == pytest.approx(4.5 / 21, rel=1e-6)


def test_one_run_is_the_laplace_approximation_by_hand(process):
    """A single diverged run: mode and curvature of one number, found by bisection and finite differences."""
    model = fit_divergence(process, line([0.0]), np.array([True]))
    amplitude = 2.5
    offset = norm.ppf(1.5 / 2) * np.sqrt(1 + amplitude**2)

    def slope(f):
        return norm.pdf(f + offset) / ndtr(f + offset) - f / amplitude**2

    low, high = 0.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    mode, h = low, 1e-5
    variance = -1 / ((slope(mode + h) - slope(mode - h)) / (2 * h))
    expected = ndtr((mode + offset) / np.sqrt(1 + variance))
    assert model.probability(line([0.0]))[0] == pytest.approx(expected, rel=1e-6)

    # The exact posterior, which the approximation stands for, is skewed: one run shifts it further.
    def density(f):
        return norm.pdf(f, scale=amplitude) * ndtr(f + offset)

    exact = quad(lambda f: density(f) * ndtr(f + offset), -20, 20)[0] / quad(density, -20, 20)[0]
    assert 0.5 < expected < exact < expected + 0.1


def test_the_classifier_follows_from_its_mode(process):
    x = np.linspace(-3, 3, 25)
    model = fit_divergence(process, line(x), np.abs(x) > 2)
    again = divergence_model(process, model.rows, model.gradient, model.root, model.offset)
    asked = line(np.linspace(-4, 4, 9))
    np.testing.assert_allclose(again.probability(asked), model.probability(asked), rtol=ALGEBRA)


def test_a_value_all_of_whose_runs_lie_high_has_losses_of_its_own():
    rng = np.random.default_rng(4)
    corpus = np.repeat([0.0, 1.0], [90, 10])
    excess = 0.03 * rng.standard_normal(100) + np.where(corpus == 1, 0.8, 0.0)
    excess[:6] = excess[90] = 2.0
    own = beside_own_value(excess, [(corpus, True)])
    threshold = divergence_threshold(own, 0.03)
    assert threshold is not None
    assert np.flatnonzero(own > threshold).tolist() == [*range(6), 90]


@pytest.mark.parametrize(("runs", "level", "own"), [(1, True, 0), (2, True, 1), (2, False, 0), (3, False, 1)])
def test_a_value_of_too_few_runs_has_no_losses_of_its_own(runs, level, own):
    values = np.repeat([0.0, 1.0], [40, runs])
    left = beside_own_value(np.where(values == 1, 2.0, 0.0), [(values, level)])
    np.testing.assert_allclose(left[40:], 2.0 * (1 - own))
