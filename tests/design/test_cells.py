"""Cells: the effect of a planned measurement, against conditioning the surrogate on an actual one."""

from dataclasses import replace

import numpy as np
import pytest

from probscale.design.cells import joint_cells

STEPS = np.geomspace(1e8, 1e10, 6)


@pytest.fixture
def cells(small_surrogate, big_pool):
    return joint_cells(small_surrogate, big_pool, STEPS)[0]


def test_marginals_are_those_of_the_surrogate(small_surrogate, big_pool, cells):
    curves = small_surrogate.predict(big_pool, STEPS).latent()
    ((_, block),) = curves.blocks
    ((_, location, variance),) = block.gaussians()
    np.testing.assert_allclose(cells.location, location, rtol=1e-12)
    np.testing.assert_allclose(cells.variance, variance, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(cells.output, curves.median, rtol=1e-10)


def test_noise_is_its_share_of_the_predictive_variance(small_surrogate, big_pool, cells):
    """The mixture of usual and wide runs, moment by moment, in place of one factor for both."""
    ((_, block),) = small_surrogate.predict(big_pool, STEPS).blocks
    assert np.max(block.tail.share) > 0
    total = sum(weight * variance for weight, _, variance in block.gaussians())
    (part,) = block.components
    np.testing.assert_allclose(cells.noise, total * part.noise / (part.variance + part.noise), rtol=1e-10)


def test_elasticities_are_those_of_the_logarithm_where_there_is_one(cells):
    np.testing.assert_allclose(cells.elasticity, cells.slope / cells.output)
    signed = replace(cells, output=cells.output - cells.output.mean())
    np.testing.assert_array_equal(signed.elasticity, cells.slope)


def test_covariance_is_that_of_joint_draws(small_surrogate, big_pool, cells):
    draws = small_surrogate.predict(big_pool, STEPS).latent().sample(4000, seed=1)
    ((_, block),) = small_surrogate.predict(big_pool, STEPS).blocks
    y = block.transform.forward(draws).reshape(4000, -1)
    found = np.cov(y.T)
    scale = np.sqrt(np.outer(cells.variance.ravel(), cells.variance.ravel()))
    assert np.abs((found - cells.covariance) / scale).max() < 5 * np.sqrt(2 / 4000)


def test_planned_measurement_narrows_as_an_actual_one_does(small_surrogate, make_log, big_pool):
    asked = big_pool.assign(run=[f"new {row}" for row in range(len(big_pool))])
    before, curves = joint_cells(small_surrogate, asked, STEPS)
    ((_, block),) = curves.blocks
    scale = np.broadcast_to(block.tail.scale, before.shape)
    plain = replace(
        before,
        covariance=before.covariance / np.outer(scale.ravel(), scale.ravel()),
        noise=block.components[0].noise,
    )
    planned = plain.measured(8 * len(STEPS) + np.arange(len(STEPS)))
    actual = small_surrogate.condition(make_log([("new 8", 1e9, 4.0)]))
    ((_, after),) = actual.predict(asked, STEPS).blocks
    np.testing.assert_allclose(planned.variance, after.components[0].variance, rtol=1e-5, atol=1e-10)


def test_effects_accumulate(cells):
    block = np.array([5, 17, 40])
    effect = cells.whitened(block)
    for count in (1, 2, 3):
        left = cells.measured(block[:count])
        drop = cells.variance.ravel() - left.variance.ravel()
        np.testing.assert_allclose(np.square(effect[:count]).sum(axis=0), drop, atol=1e-8)


def test_measuring_everything_leaves_less_than_the_noise(cells):
    left = cells.measured(np.arange(cells.covariance.shape[0]))
    assert (left.variance <= cells.noise * (1 + 1e-6)).all()


def test_implied_mean_follows_the_measurement(cells):
    where = np.array([3])
    implied = cells.implied(where, cells.location.ravel()[where] + 1.0)
    share = cells.variance.ravel()[3] / (cells.variance.ravel()[3] + cells.noise.ravel()[3])
    np.testing.assert_allclose(implied.ravel()[3] - cells.location.ravel()[3], share, rtol=1e-8)
