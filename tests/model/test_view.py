"""Rows seen together: the numbers that each question alone would get, from one solve."""

from dataclasses import replace

import numpy as np
import pytest

from probscale.model import view
from probscale.model.exact import solve_exactly
from probscale.model.triangle import Triangle
from probscale.model.view import View, component_of


@pytest.fixture
def state(process, data):
    return solve_exactly(process, data)


@pytest.fixture
def asked(layout, rows_of):
    return rows_of(layout, 12, seed=8)


class Counted(Triangle):
    """A factor that counts its solves."""

    solves = 0

    def forward(self, right):
        Counted.solves += 1
        return super().forward(right)


@pytest.fixture
def counted(state):
    Counted.solves = 0
    factor = state.factor
    return replace(state, factor=Counted(factor.lead, factor.below, factor.corner))


def test_a_view_gives_what_the_posterior_gives(state, asked, monkeypatch):
    for most in (view.MOST_KEPT, 0):
        monkeypatch.setattr(view, "MOST_KEPT", most)
        seen = View(state, asked)
        mean, variance = state.marginals(asked)
        np.testing.assert_array_equal(seen.marginals()[0], mean)
        np.testing.assert_array_equal(seen.marginals()[1], variance)
        np.testing.assert_array_equal(seen.covariance, state.covariance(asked, asked))
        drawn = state.draw(asked, np.random.default_rng(1), 4)
        np.testing.assert_array_equal(seen.draw(np.random.default_rng(1), 4), drawn)


def test_covariance_of_rows_with_themselves_takes_one_solve(counted, asked):
    counted.covariance(asked, asked)
    assert Counted.solves == 1


def test_marginals_covariance_and_draws_of_a_component_share_a_solve(counted, asked):
    part = component_of(counted, asked, 1.0, (4, 3))
    assert part.covariance().shape == (12, 12)
    assert part.draw(np.random.default_rng(0), 5).shape == (5, 4, 3)
    part.draw(np.random.default_rng(1), 5)
    assert Counted.solves == 1
