"""How far a new run may lie from a mean that was fitted to few."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import probscale as ps
from probscale.encode.encoder import fit_encoder
from probscale.model.means import curve_mean
from probscale.surrogate.fitting import new_run_factor
from probscale.surrogate.prepare import prepare


def factor(log):
    points = prepare(
        log,
        fit_encoder(log, None),
        transform="auto",
        share=0.0,
        most=2_000,
        generator=np.random.default_rng(0),
    )
    mean = curve_mean(points.transform, points.law_scale, points.data.y)
    return new_run_factor(points, mean), sum(p.numel() for p in mean.parameters())


@pytest.mark.parametrize("runs", [4, 60])
def test_the_fewer_runs_a_law_of_curves_was_fitted_to_the_further_a_new_one_may_lie(runs):
    found, free = factor(ps.simulate_runs("law", n_runs=runs, points=8, tasks=1, seed=0))
    assert_allclose(found**2, 1 + free / runs)


def test_in_a_linear_model_the_factor_is_the_error_of_a_new_run_over_the_noise():
    generator, runs, free = np.random.default_rng(0), 60, 6
    errors = []
    for _ in range(400):
        x, noise = generator.standard_normal((runs, free)), generator.standard_normal(runs)
        weights = np.linalg.lstsq(x, noise, rcond=None)[0]
        new = generator.standard_normal((200, free))
        errors.append(np.mean((new @ weights - generator.standard_normal(200)) ** 2))
    found, free = factor(ps.simulate_runs("law", n_runs=runs, points=8, tasks=1, seed=0))
    assert_allclose(np.sqrt(np.mean(errors)), found, rtol=0.03)


def test_laws_of_finals_are_left_to_their_own_uncertainty():
    log = ps.simulate_runs("law", n_runs=12, points=8, tasks=1, seed=0)
    last = log.to_frame().groupby("run").tail(1).drop(columns="diverged")
    assert factor(ps.RunLog.from_frame(last, **log.roles.arguments()))[0] == 1.0
