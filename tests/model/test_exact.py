"""Exact inference against the same formulas solved densely in numpy."""

import numpy as np
import pytest
import torch
from scipy import stats

from probscale.errors import NotPositiveDefiniteError
from probscale.model.exact import solve_exactly
from probscale.model.gp import cholesky
from tolerances import ALGEBRA, monte_carlo


class Dense:
    """Prior mean and covariance of observations and asked rows, in numpy."""

    def __init__(self, process, data, asked):
        with torch.no_grad():
            rows = data.rows.cat(asked)
            mean, slopes = (v.numpy() for v in process.mean.linearised(rows))
            self.prior = process.kernel(rows.x).numpy() + slopes @ slopes.T
            self.noise = process.noise(data.rows).numpy() / data.weight.numpy()
        self.mean, self.n, self.y = mean, len(data), data.y.numpy()

    @property
    def observed(self):
        return self.prior[: self.n, : self.n] + np.diag(self.noise)

    def posterior(self, given=None):
        """Mean and covariance of every row given some observations."""
        given = np.arange(self.n) if given is None else given
        inner = self.observed[np.ix_(given, given)]
        cross = self.prior[:, given]
        mean = self.mean + cross @ np.linalg.solve(inner, (self.y - self.mean[: self.n])[given])
        return mean, self.prior - cross @ np.linalg.solve(inner, cross.T)


@pytest.fixture
def asked(layout, rows_of):
    return rows_of(layout, 12, seed=8)


@pytest.fixture
def state(process, data):
    return solve_exactly(process, data)


@pytest.fixture
def dense(process, data, asked):
    return Dense(process, data, asked)


def close(found, expected):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=ALGEBRA, atol=ALGEBRA)


def test_marginals_are_those_of_the_dense_solve(state, dense, asked):
    mean, variance = state.marginals(asked)
    expected, covariance = dense.posterior()
    close(mean, expected[30:])
    # The kernel's diagonal is exact, that of the matrix carries the rounding of its distances.
    np.testing.assert_allclose(variance, np.diag(covariance)[30:], rtol=1e-6)


def test_joint_covariance_is_that_of_the_dense_solve(state, dense, asked):
    _, covariance = dense.posterior()
    close(state.covariance(asked, asked), covariance[30:, 30:])
    close(state.covariance(asked.take(slice(0, 3)), asked), covariance[30:33, 30:])


def test_draws_have_the_posterior_covariance(state, dense, asked):
    n = 20_000
    draws = state.draw(asked, np.random.default_rng(0), n)
    expected = dense.posterior()[1][30:, 30:]
    diagonal = np.diag(expected)
    error = monte_carlo(n, np.sqrt(np.outer(diagonal, diagonal) + expected**2))
    assert (np.abs(draws.T @ draws / n - expected) < error).all()
    assert (np.abs(draws.mean(axis=0)) < monte_carlo(n, np.sqrt(diagonal))).all()


def test_beyond_the_landmarks_marginals_stay_exact(state, asked, monkeypatch):
    monkeypatch.setattr("probscale.model.exact.LANDMARKS", 5)
    n = 20_000
    draws = state.draw(asked, np.random.default_rng(1), n)
    variance = state.marginals(asked)[1].numpy()
    assert (np.abs((draws**2).mean(axis=0) - variance) < monte_carlo(n, np.sqrt(2) * variance)).all()


def test_leaving_groups_out_is_solving_without_them(state, dense, data):
    groups = np.random.default_rng(9).integers(0, 6, 30)
    residual, variance = state.leave_groups_out(groups)
    for group in np.unique(groups):
        left = np.flatnonzero(groups == group)
        mean, covariance = dense.posterior(np.flatnonzero(groups != group))
        close(residual[left], data.y.numpy()[left] - mean[left])
        np.testing.assert_allclose(variance[left], np.diag(covariance)[left], rtol=1e-6, atol=ALGEBRA)


def test_density_of_a_block_is_that_of_its_conditional_normal(state, dense, data):
    block = np.array([2, 3, 17, 29])
    mean, covariance = dense.posterior(np.setdiff1d(np.arange(30), block))
    inner = covariance[np.ix_(block, block)] + np.diag(dense.noise[block])
    expected = stats.multivariate_normal(mean[block], inner).logpdf(data.y.numpy()[block])
    close(state.log_density_of(block), expected)


def test_evidence_is_the_density_of_all_observations(state, dense, data):
    law = stats.multivariate_normal(dense.mean[:30], dense.observed)
    close(state.log_evidence(), law.logpdf(data.y.numpy()))
    close(state.log_density_of(np.arange(30)), law.logpdf(data.y.numpy()))


def test_extending_is_solving_with_everything(process, data, asked, state):
    parts = solve_exactly(process, data.take(slice(0, 11)))
    parts = parts.extend(data.take(slice(11, 24))).extend(data.take(slice(24, 30)))
    for found, expected in zip(parts.marginals(asked), state.marginals(asked), strict=True):
        close(found, expected)
    close(parts.factor.dense(), state.factor.dense())
    close(parts.solved, state.solved)


def test_what_was_known_before_any_extension_is_found_again(process, data, asked):
    first = solve_exactly(process, data.take(slice(0, 11)))
    grown = first.extend(data.take(slice(11, 24))).extend(data.take(slice(24, 30)))
    again = grown.before()
    for found, expected in zip(again.marginals(asked), first.marginals(asked), strict=True):
        close(found, expected)
    assert len(again.data) == 11
    assert first.before() is first


@pytest.mark.parametrize(("limit", "value"), [("CHUNK", 5), ("IN_CACHE", 100)])
def test_prediction_in_blocks_is_prediction_at_once(state, asked, monkeypatch, limit, value):
    whole = state.marginals(asked)
    monkeypatch.setattr(f"probscale.model.exact.{limit}", value)
    for found, expected in zip(state.marginals(asked), whole, strict=True):
        close(found, expected)
    close(state.means(asked), whole[0])


def test_a_singular_covariance_takes_the_smallest_jitter_that_helps():
    matrix = torch.ones(4, 4, dtype=torch.float64)
    factor, jitter = cholesky(matrix)
    assert 0 < jitter <= 1e-8
    np.testing.assert_allclose(factor @ factor.mT, matrix, atol=10 * jitter)
    assert cholesky(torch.eye(3, dtype=torch.float64))[1] == 0.0


def test_what_no_jitter_repairs_is_reported():
    matrix = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    with pytest.raises(NotPositiveDefiniteError, match="3 points"):
        cholesky(matrix)
