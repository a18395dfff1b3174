import numpy as np
import pytest

from probscale import theory
from probscale.errors import ConfigError


def frontier_at(name, params):
    """Frontier at the compute whose optimum has about this many parameters."""
    a, b = theory.EXAMPLE_POINTS[name]
    compute = params ** (1 / theory.exponents(a, b).params)
    return theory.frontier(a, b, compute=[compute])


def assert_near_closed_form(name):
    found = frontier_at(name, 1e4)
    assert 3e3 < found.params[0] < 3e4
    assert found.params_exponent[0] == pytest.approx(found.asymptotic.params, rel=0.02)
    assert found.loss_exponent[0] == pytest.approx(found.asymptotic.loss, rel=0.02)


def test_local_exponents_reach_the_closed_forms_in_phase_ia():
    assert_near_closed_form("Ia")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["II", "III"])
def test_local_exponents_reach_the_closed_forms_in_phases_ii_and_iii(name):
    assert_near_closed_form(name)


def test_frontier_is_the_minimum_over_direct_evaluations():
    compute = 3e6
    found = theory.frontier(0.4, 0.4, compute=[compute], batch=2, window=0.2)
    sizes = np.unique(np.rint(found.params[0] * np.geomspace(0.5, 2, 15)).astype(int))
    losses = [
        theory.expected_loss(0.4, 0.4, params=int(d), steps=compute / 2 / d, batch=2).item() for d in sizes
    ]
    assert found.loss[0] == pytest.approx(min(losses), rel=2e-3)
    assert np.abs(np.log(sizes[np.argmin(losses)] / found.params[0])) < 0.15
    assert found.steps[0] * found.params[0] * 2 == pytest.approx(compute, rel=1e-12)


def test_constant_rate_and_rate_function_agree():
    one, two = (
        theory.frontier(0.75, 0.25, compute=[1e6], learning_rate=rate, window=0.2)
        for rate in (0.2, lambda d: 0.2)
    )
    assert one.loss == pytest.approx(two.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("compute", "words"),
    [([-1.0], "positive and rising"), ([1e6, 1e5], "positive and rising"), ([10.0], "too small")],
)
def test_budgets_without_a_frontier_are_refused(compute, words):
    with pytest.raises(ConfigError, match=words):
        theory.frontier(0.75, 0.25, compute=compute)
