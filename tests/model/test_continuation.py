"""Curves of runs, given what is expected of them and what they have shown."""

import numpy as np
import pytest

from probscale.model.continuation import outlooks_of
from probscale.model.straying import Prefix, plain_deviations
from tolerances import ALGEBRA
from two_functions import BASIS

EXPECTED = np.array([0.1, 0.05]), np.array([0.02, 0.01]), np.array([0.003, 0.002])
V = np.linspace(0.3, 1.0, 6)


def views():
    """The outlook of a run of which the first points are seen, and as if nothing were."""
    seen = Prefix(np.linspace(0.05, 0.3, 6), np.full(6, 0.3))
    return [outlooks_of(BASIS, plain_deviations(2), V, each, *EXPECTED)[0] for each in (seen, None)]


def test_an_outlook_that_leans_goes_from_one_account_to_the_other():
    seen, fresh = views()
    wider = np.full(len(V), 2.0)
    leaning = seen.leaning(fresh, np.linspace(0.0, 1.0, len(V)), wider)
    for side, factor, point in ((seen, 1.0, 0), (fresh, 2.0, -1)):
        assert leaning.centre[point] == pytest.approx(side.centre[point], rel=ALGEBRA)
        assert leaning.variance[point] == pytest.approx(factor * side.variance[point], rel=ALGEBRA)
        assert leaning.nugget[point] == pytest.approx(factor * side.nugget[point], rel=ALGEBRA)
    low, high = np.minimum(seen.centre, fresh.centre), np.maximum(seen.centre, fresh.centre)
    assert ((leaning.centre >= low - ALGEBRA) & (leaning.centre <= high + ALGEBRA)).all()


def test_a_leaning_outlook_states_its_variances_as_it_draws_them():
    seen, fresh = views()
    leaning = seen.leaning(fresh, np.linspace(0.0, 1.0, len(V)), np.full(len(V), 1.5))
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((100_000, 2)) @ (leaning.loading @ leaning.common).T
    own = rng.standard_normal((100_000, len(leaning.own))) @ (leaning.loading @ leaning.own).T
    assert shared.var(0) == pytest.approx(leaning.shared_variance, rel=0.02)
    assert own.var(0) + leaning.wander == pytest.approx(leaning.own_variance, rel=0.02)
