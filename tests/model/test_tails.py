"""Calibrated spread: what generated the residuals is found again."""

import math

import numpy as np
import pytest

from probscale.model.posterior import Tail
from probscale.model.tails import (
    BREAK,
    CURVES_BEYOND,
    FINALS_BEYOND,
    LEAST_BEYOND,
    OPTIMISM,
    PER_PARAMETER,
    SEEN,
    SHORT_BREAK,
    Beyond,
    fit_beyond,
    fit_break,
    fit_continuation,
    fit_tail,
    fit_unseen,
)


def residuals(n, scale, share, spread, seed=0):
    """Residuals of n points, with their variances, from the model that `fit_tail` assumes."""
    rng = np.random.default_rng(seed)
    variance, noise = rng.uniform(0.5, 2.0, n) * 1e-3, np.full(n, 4e-3)
    wide = rng.random(n) < share
    std = scale * np.where(wide, spread, 1.0) * np.sqrt(variance + noise)
    return std * rng.standard_normal(n), variance, noise


@pytest.mark.parametrize(("scale", "share", "spread"), [(1.0, 0.05, 5.0), (1.6, 0.1, 6.0), (0.8, 0.2, 4.0)])
def test_scale_share_and_spread_are_recovered(scale, share, spread):
    tail = fit_tail(*residuals(8_000, scale, share, spread), groups=8_000)
    assert tail.scale == pytest.approx(scale, rel=0.06)
    assert tail.share == pytest.approx(share, abs=0.03)
    assert tail.spread == pytest.approx(spread, rel=0.15)


def test_the_scale_does_not_depend_on_units():
    parts = residuals(500, 1.3, 0.05, 5.0)
    one = fit_tail(*parts, groups=100)
    two = fit_tail(parts[0] * 1e3, parts[1] * 1e6, parts[2] * 1e6, groups=100)
    assert two.scale == pytest.approx(one.scale, rel=1e-3)


@pytest.mark.parametrize("parameters", [0, 30])
def test_few_points_have_the_usual_spread_wider_the_fewer(parameters):
    parts = residuals(400, 1.0, 0.05, 4.0)
    tails = [
        fit_tail(*(part[:n] for part in parts), groups=n, parameters=parameters) for n in (0, 4, 19, 20, 400)
    ]
    scales = np.array([np.mean(tail.scale) for tail in tails])
    assert np.all(np.diff(scales[1:]) < 0.02)
    assert scales[1] > 1.6 * scales[-1]
    assert scales[2] == pytest.approx(scales[3], rel=0.05)
    assert all(0.05 < tail.share < 0.15 and 2 < tail.spread < 4 for tail in tails[:3])


def test_what_every_parameter_has_seen_is_less_sure_the_more_there_are():
    parts = residuals(400, 1.0, 0.05, 4.0)
    scales = [float(np.mean(fit_tail(*parts, groups=400, parameters=p).scale)) for p in (0, 20, 80)]
    # Priors of few groups differ a little where parameters count.
    assert scales[1] / scales[0] == pytest.approx(math.exp(SEEN + PER_PARAMETER * 20 / 400), rel=1e-3)
    assert scales[2] / scales[1] == pytest.approx(math.exp(PER_PARAMETER * 60 / 400))


def test_few_groups_move_the_scale_less_than_many():
    parts = residuals(400, 4.0, 0.0, 1.0)
    many, few = (float(np.mean(fit_tail(*parts, groups=g).scale)) for g in (400, 4))
    assert few < many


def test_missing_residuals_are_left_out():
    residual, variance, noise = residuals(300, 1.2, 0.05, 5.0)
    again = np.r_[residual, np.nan], np.r_[variance, 1.0], np.r_[noise, 1.0]
    tail = fit_tail(residual, variance, noise, groups=300)
    assert fit_tail(*again, groups=300) == tail


def test_extrapolation_widens_with_the_errors_of_held_out_sizes():
    tail = Tail(1.2, 0.05, 4.0)
    factors = [fit_beyond(*residuals(400, 1.2 * true, 0.05, 4.0), tail, folds=40) for true in (0.5, 2.0, 5.0)]
    assert factors[0] >= 1.0
    assert factors[1] == pytest.approx(2.0, rel=0.15)
    assert factors[2] == pytest.approx(5.0, rel=0.15)


def test_one_fold_counts_for_little():
    parts, tail = residuals(400, 5.0, 0.0, 1.0), Tail()
    assert 1.0 < fit_beyond(*parts, tail, folds=1) < fit_beyond(*parts, tail, folds=40)


def test_without_held_out_sizes_the_prior_speaks():
    empty = np.empty(0)
    factor = fit_beyond(empty, empty, empty, Tail(), folds=0)
    assert 1.0 <= factor < math.exp(0.5)


def test_errors_that_grow_with_the_distance_are_told_from_a_spread_too_small():
    rng, tail = np.random.default_rng(4), Tail(1.1)
    squared = rng.uniform(0.0, 2.0, (20_000, 2)) * (rng.random((20_000, 2)) < 0.5)
    variance, noise = rng.uniform(1e-4, 4e-4, (2, 20_000))
    spread = (1.1 * 1.6) ** 2 * (variance + noise) + squared @ [0.05**2, 0.04**2]
    residual = np.sqrt(spread) * rng.standard_normal(20_000)
    factor, slope, short = fit_break(residual, variance, noise, squared, tail, folds=400)
    assert factor == pytest.approx(1.6, rel=0.1)
    # Predictions scale the breaks as they scale everything else.
    assert slope * factor * 1.1 == pytest.approx(0.05, rel=0.05)
    assert short * factor * 1.1 == pytest.approx(0.04, rel=0.05)


def test_without_folds_a_law_may_break_as_much_as_laws_usually_do():
    empty, tail = np.empty(0), Tail(1.3)
    factor, slope, short = fit_break(empty, empty, empty, np.empty((0, 2)), tail, folds=0)
    assert slope * factor * 1.3 == pytest.approx(BREAK)
    assert short * factor * 1.3 == pytest.approx(SHORT_BREAK)


def test_beyond_the_sizes_of_finals_forecasts_are_narrower_with_wider_tails():
    tail, parts = Tail(1.2, 0.05, 6.0), residuals(8_000, 1.2 * 0.85, 0.1, 6.0)
    assert CURVES_BEYOND.outer(tail) == tail
    assert FINALS_BEYOND.outer(tail) == Tail(1.2, 0.1, 6.0)
    assert FINALS_BEYOND.outer(Tail()) == Tail(1.0, *FINALS_BEYOND.wide)
    assert fit_beyond(*parts, tail, folds=40, expected=FINALS_BEYOND) == pytest.approx(0.85, rel=0.05)
    assert fit_beyond(*parts, tail, folds=40) == LEAST_BEYOND


def test_no_number_of_lucky_folds_makes_forecasts_sure_of_themselves():
    parts = residuals(400, 0.01, 0.1, 4.0)
    assert fit_beyond(*parts, Tail(), folds=40, expected=FINALS_BEYOND) == FINALS_BEYOND.least


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.8])
def test_the_scale_of_continuations_is_recovered(scale):
    new_runs = Tail(1.3, 0.1, 5.0)
    parts = residuals(8_000, scale, 0.1, 5.0)
    assert fit_continuation(*parts, new_runs, runs=4_000) == pytest.approx(scale, rel=0.05)


def test_few_continuations_keep_the_scale_of_new_runs():
    assert fit_continuation(*residuals(19, 3.0, 0.0, 1.0), Tail(1.3), runs=10) == 1.3


def test_spreads_are_as_expected_where_residuals_have_no_say():
    """Each prior alone: the factor beyond the sizes, and scales with the caution of one that is not known."""
    parts = residuals(40, 3.0, 0.0, 1.0)
    expected = Beyond(factor=2.0, std=0.8, alone=0.5, least=0.1)
    assert fit_beyond(*parts, Tail(), folds=0, expected=expected) == pytest.approx(2.0, rel=1e-3)
    cautious = math.exp(OPTIMISM + 0.5 * 0.3)
    assert fit_continuation(*parts, Tail(), runs=0) == pytest.approx(cautious, rel=1e-3)
    assert fit_unseen(*parts, np.zeros(40), Tail()) == pytest.approx(cautious, rel=1e-3)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.8])
def test_scales_of_continued_runs_and_of_unseen_values_are_recovered(scale):
    parts = residuals(4_000, scale, 0.0, 1.0)
    assert fit_continuation(*parts, Tail(), runs=4_000) == pytest.approx(scale, rel=0.05)
    assert fit_unseen(*parts, np.ones(4_000), Tail()) == pytest.approx(scale, rel=0.05)
    residual, variance, noise = (part.copy() for part in parts)
    # Points whose variance is not known, or whose residual is not, count for nothing.
    residual[::7], noise[3::7], variance[3::7] = np.nan, 0.0, 0.0
    assert fit_unseen(residual, variance, noise, np.ones(4_000), Tail()) == pytest.approx(scale, rel=0.05)
