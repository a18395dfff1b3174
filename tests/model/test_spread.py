"""Factors on the spread along a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtri

from probscale.model.spread import (
    ALONG,
    CurveSpread,
    Foretold,
    LengthTrend,
    begun_weights,
    contaminated,
    fit_factors,
    mixture_quantile,
    needed,
    new_weights,
    together,
)


def points(true, hats, seed=0, count=4_000):
    """Points whose deviations are `true` times as wide as foretold, a factor per hat."""
    generator = np.random.default_rng(seed)
    std = np.exp(generator.normal(size=count))
    values = generator.standard_normal(count) * std * np.exp(hats @ np.log(true))
    one = np.ones((1, count))
    return Foretold(one, 0 * one, (std**2)[None], values, np.full(count, 0.1), hats)


def test_the_factor_is_found_again():
    found = fit_factors(points([1.7], np.ones((4_000, 1))))
    assert np.exp(found) == pytest.approx([1.7], rel=0.06)


def test_factors_may_differ_along_a_run():
    v = np.random.default_rng(1).uniform(0.2, 1.0, 4_000)
    true = np.array([0.7, 0.8, 1.2, 1.5])
    found = np.exp(fit_factors(points(true, new_weights(v))))
    assert found == pytest.approx(true, rel=0.25)


def test_factors_may_fall_with_the_length_of_a_run():
    longer = np.random.default_rng(2).uniform(-1.5, 1.5, 4_000)
    hats = np.column_stack([np.ones(4_000), longer])
    some = points(np.exp([0.2, -0.4]), hats)
    found = fit_factors(replace(some, say=100 * some.say), slopes=1)
    assert found == pytest.approx([0.2, -0.4], abs=0.06)
    # Few runs must not take accidents for a trend.
    assert -0.1 < fit_factors(replace(some, say=0.01 * some.say), slopes=1)[1] < 0


def test_runs_longer_than_most_spread_like_the_longest_that_are_common():
    lengths = np.log(np.geomspace(1e3, 1e5, 101))
    trend = replace(LengthTrend.over(lengths), new=-0.4, begun=0.1)
    spread = replace(CurveSpread.plain(), length=trend)
    v, seen = np.full((4, 2), 0.5), np.array([np.nan, np.nan, np.nan, 0.2])
    asked = np.log([1e4, 1e5, 1e9, 1e9])
    middle, long, longest, begun = spread.factors(v, seen, np.zeros(4), asked)[:, 0]
    assert middle == pytest.approx(1.0)
    assert longest == long == pytest.approx(np.exp(-0.4 * 0.45 * np.log(100)), rel=1e-9)
    assert begun == pytest.approx(np.exp(0.1 * 0.45 * np.log(100)), rel=1e-9)


def test_without_points_that_say_much_factors_stay_near_one():
    few = points([3.0], np.ones((6, 1)), count=6)
    assert 1.0 < float(np.exp(fit_factors(few)[0])) < 2.5


def test_needed_factors_put_points_on_the_edge_of_their_interval():
    some = points([1.0], np.ones((50, 1)), count=50)
    edge = ndtri(0.95) * np.sqrt(some.variances[0]) * np.exp(needed(some, 0.9))
    assert edge == pytest.approx(np.abs(some.values))


def test_quantiles_of_a_mixture_are_those_of_its_draws():
    generator = np.random.default_rng(0)
    draws = np.where(generator.random(200_000) < 0.3, 1.0, -1.0) + generator.standard_normal(200_000)
    table = Foretold(
        np.array([[0.3], [0.7]]),
        np.array([[1.0], [-1.0]]),
        np.ones((2, 1)),
        np.zeros(1),
        np.ones(1),
        np.ones((1, 1)),
    )
    for q in (0.05, 0.5, 0.9):
        assert mixture_quantile(table, q)[0] == pytest.approx(np.quantile(draws, q), abs=0.02)


def test_runs_with_fewer_kinds_stand_beside_those_with_more():
    one, two = points([1.0], np.ones((3, 1)), count=3), points([1.0], np.ones((2, 1)), count=2)
    wide = Foretold(
        np.full((2, 2), 0.5), np.zeros((2, 2)), np.tile(two.variances, (2, 1)), two.values, two.say, two.hats
    )
    both = together([one, wide])
    assert both.weights.sum(0) == pytest.approx(np.ones(5))
    assert mixture_quantile(both, 0.9)[3:] == pytest.approx(ndtri(0.9) * np.sqrt(two.variances[0]))


def test_new_and_begun_runs_have_factors_of_their_own():
    plain = CurveSpread.plain()
    spread = CurveSpread(plain.new + np.log(2.0), plain.begun)
    v = np.linspace(0.1, 1.0, 5)[None].repeat(2, axis=0)
    factors = spread.factors(v, np.array([np.nan, 0.5]), np.array([0, 7]), np.zeros(2))
    assert factors[0] == pytest.approx(np.full(5, 2.0))
    assert factors[1] == pytest.approx(np.ones(5))
    assert new_weights(ALONG) == pytest.approx(np.eye(len(ALONG)))
    assert begun_weights(v[0], np.full(5, 0.5), np.full(5, 10)).sum(1) == pytest.approx(np.full(5, 2.0))


def test_a_share_of_forecasts_strays_more_about_the_same_middle():
    rng = np.random.default_rng(8)
    weights = rng.dirichlet(np.ones(3), 40).T
    plain = Foretold(
        weights, rng.normal(size=(3, 40)), rng.uniform(0.1, 2, (3, 40)), *np.ones((2, 40)), np.ones((40, 1))
    )
    strayed = contaminated(plain, 0.1, 3.0)

    def moments(each):
        middle = (each.weights * each.centres).sum(0)
        return middle, (each.weights * each.variances).sum(0)

    (middle, variance), (same, wider) = moments(plain), moments(strayed)
    np.testing.assert_allclose(strayed.weights.sum(0), 1.0)
    np.testing.assert_allclose(middle, same)
    np.testing.assert_allclose(wider, variance * (0.9 + 0.1 * 9))
    assert (needed(strayed, 0.9) < needed(plain, 0.9)).all()
