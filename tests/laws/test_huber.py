import numpy as np
import pytest
from scipy.optimize import minimize

from probscale.laws.huber import Quadratic, huber, minimize_huber

EXACT, ALGEBRA = 1e-12, 1e-8
RNG = np.random.default_rng(0)
X = np.linspace(0.1, 3.0, 60)
Y = 2.0 * np.exp(-0.7 * X) + 0.3 + RNG.standard_t(2, 60) * 0.02


def _model(point):
    a, b, c = point
    return a * np.exp(-b * X) + c - Y, np.stack(
        [np.exp(-b * X), -a * X * np.exp(-b * X), np.ones_like(X)], axis=1
    )


def test_the_loss_is_quadratic_inside_and_linear_outside():
    delta = 0.5
    np.testing.assert_allclose(huber(np.array([0.2, -0.2]), delta), 0.02, rtol=EXACT)
    np.testing.assert_allclose(huber(np.array([2.0, -2.0]), delta), delta * (2.0 - delta / 2), rtol=EXACT)
    np.testing.assert_allclose(huber(np.array([3.0]), np.inf), 4.5, rtol=EXACT)


@pytest.mark.parametrize("delta", [1e-3, 1e-2, 0.1, np.inf])
def test_the_minimum_agrees_with_a_quasi_newton_solver(delta):
    weights = RNG.integers(0, 3, 60).astype(float)
    found = minimize_huber(_model, np.array([1.0, 1.0, 0.0]), delta, weights, penalty=Quadratic.none(3))

    def objective(point):
        residuals, jacobian = _model(point)
        slope = jacobian.T @ (weights * np.clip(residuals, -delta, delta))
        return 1e4 * weights @ huber(residuals, delta), 1e4 * slope

    reference = minimize(
        objective, [2.0, 0.7, 0.3], jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000}
    )
    assert found.converged
    assert found.objective <= reference.fun / 1e4 * (1 + ALGEBRA)


def test_a_strong_penalty_holds_a_coordinate():
    penalty = Quadratic(np.array([0.0, 0.5, 0.0]), np.array([0.0, 1e8, 0.0]))
    found = minimize_huber(_model, np.array([1.0, 1.0, 0.0]), 1e-2, np.ones(60), penalty=penalty)
    assert found.point[1] == pytest.approx(0.5, abs=1e-6)


def test_a_start_without_a_finite_loss_is_returned_as_failed():
    found = minimize_huber(
        lambda point: (np.full(60, np.nan), np.zeros((60, 3))),
        np.ones(3),
        1e-2,
        np.ones(60),
        penalty=Quadratic.none(3),
    )
    assert not found.converged
    assert found.objective == np.inf
