"""Population level: what sets single new runs apart is left out, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

import probscale as ps
from probscale.model.posterior import Tail
from probscale.model.terms import RunTerm
from probscale.surrogate.population import population_level

AT = np.array([1e8, 1e9, 4e9])


@pytest.fixture(scope="module")
def fitted():
    log = ps.simulate_runs(n_runs=14, points=4, sizes=[1e7, 1e8], seed=2)
    return ps.fit_surrogate(log, embedder=None, seed=0)


def asked(fitted):
    return fitted.log.configs.iloc[:3].reset_index(drop=True)


def joint(surrogate, configs):
    ((_, block),) = surrogate.predict(configs, AT).blocks
    return replace(block, tail=Tail()).joint()[:2]


def test_only_the_deviation_of_new_runs_is_left_out(fitted):
    """The covariance falls by that of the run term, computed by hand; the mean stays."""
    configs = asked(fitted)
    centre, full = joint(fitted, configs)
    same, less = joint(population_level(fitted), configs)
    (expert,) = fitted.experts.values()
    (term,) = (m for m in expert.states[0].process.modules() if isinstance(m, RunTerm))
    rows = expert.rows(configs, -np.arange(1.0, 4.0), np.repeat(np.arange(3), 3), np.tile(AT, 3))
    along = term.along("width", rows.x, rows.x).detach().numpy()
    scale, drift = np.exp(2 * term.scale.item()), np.exp(2 * term.drift.item())
    by_hand = np.kron(np.eye(3), np.ones((3, 3))) * (scale + drift * along)
    np.testing.assert_allclose(same, centre)
    np.testing.assert_allclose(full - less, by_hand, atol=1e-10)


def test_runs_of_the_log_stay_as_they_are(fitted):
    run = fitted.log.roles.run
    configs = fitted.log.configs.iloc[:2].reset_index(names=run)
    for one, other in zip(joint(fitted, configs), joint(population_level(fitted), configs), strict=True):
        np.testing.assert_allclose(one, other)


def test_the_best_of_many_equal_configurations_owes_nothing_to_luck(fitted):
    configs = asked(fitted).iloc[[0] * 40].reset_index(drop=True)
    single, many = (
        population_level(fitted).predict(part, AT).latent().sample(400, seed=0)
        for part in (configs[:1], configs)
    )
    lucky = fitted.predict(configs, AT).latent().sample(400, seed=0)
    np.testing.assert_allclose(many.min(axis=1).mean(axis=0), single.mean(axis=(0, 1)), rtol=3e-3)
    assert (lucky.min(axis=1).mean(axis=0) < many.min(axis=1).mean(axis=0)).all()
