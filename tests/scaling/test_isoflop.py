"""IsoFLOP curves: agreement with direct prediction, the optimum of a known law, refusals."""

import numpy as np
import pandas as pd
import pytest

import probscale as ps
from probscale.errors import ConfigError
from probscale.scaling import fit_isoflops
from tolerances import monte_carlo

TOKENS = np.geomspace(1e8, 1e11, 8)
SIZES = np.geomspace(1e6, 1e9, 7)
COST = ps.FlopsCost(params="N")


def loss_of(size, tokens):
    return 1.7 + 300 * size**-0.35 + 1200 * tokens**-0.35


@pytest.fixture(scope="module")
def log():
    rows = [(f"r{i}", n, d, loss_of(n, d)) for i, n in enumerate(SIZES) for d in TOKENS]
    frame = pd.DataFrame(rows, columns=["run", "N", "tokens", "loss"])
    return ps.RunLog.from_frame(frame, run="run", axis="tokens", output="loss", params="N")


@pytest.fixture(scope="module")
def surrogate(log):
    return ps.fit_surrogate(log, embedder=None, seed=0)


@pytest.fixture(scope="module")
def isoflops(surrogate):
    return fit_isoflops(surrogate, compute=[1e18, 1e19], cost=COST)


def test_with_one_configuration_a_size_they_are_the_surrogate_s_own_curves(isoflops, surrogate):
    curves = surrogate.predict(pd.DataFrame({"N": SIZES}), (1e18 / (6 * SIZES))[:, None]).latent()
    known = np.isfinite(isoflops.loss.mean[0])
    error = np.abs(isoflops.loss.mean[0] - curves.mean[:, 0])[known]
    assert (error < monte_carlo(256, curves.std[known, 0])).all()
    np.testing.assert_allclose(isoflops.at * 6 * SIZES, [[1e18] * 7, [1e19] * 7])


def test_the_best_size_is_that_of_the_known_law(isoflops):
    for level, best in zip(isoflops.compute, isoflops.best, strict=True):
        tokens = level / (6 * SIZES)
        legal = (tokens >= TOKENS[0]) & (tokens <= 4 * TOKENS[-1])
        truth = np.where(legal, loss_of(SIZES, tokens), np.inf)
        assert best == SIZES[truth.argmin()]


def test_a_plain_function_is_a_cost(isoflops, surrogate):
    found = fit_isoflops(
        surrogate, compute=[1e18, 1e19], cost=lambda configs, at: 6 * configs[["N"]].to_numpy() * at
    )
    np.testing.assert_allclose(found.at, isoflops.at, rtol=1e-8)
    np.testing.assert_allclose(found.loss.mean, isoflops.loss.mean, rtol=1e-4)


def test_runs_outside_the_observed_axis_are_left_out_or_marked(isoflops, surrogate):
    known = np.isfinite(isoflops.loss.mean)
    assert not known[isoflops.at < TOKENS[0] * 0.999].any()
    assert not known[isoflops.at > 4.001 * TOKENS[-1]].any()
    np.testing.assert_array_equal(isoflops.beyond, isoflops.at > TOKENS[-1] * (1 + 1e-9))
    near = fit_isoflops(surrogate, compute=[1e19], cost=COST, until=TOKENS[-1])
    assert not np.isfinite(near.loss.mean[near.beyond]).any()


def test_the_best_settings_of_each_size_count(surrogate):
    pool = pd.DataFrame({"N": np.repeat(SIZES, 2)})
    double = fit_isoflops(surrogate, pool, compute=[1e18], cost=COST)
    assert double.loss.values.shape == (256, 1, 7)


def test_table_has_a_row_for_each_level_and_size(isoflops):
    table = isoflops.to_frame()
    assert len(table) == 14
    known = table.dropna(subset="mean")
    assert (known["lower"] <= known["mean"]).all()
    assert (known["mean"] <= known["upper"]).all()


def test_bad_levels_and_pools_are_refused(surrogate, log):
    with pytest.raises(ConfigError, match="positive levels"):
        fit_isoflops(surrogate, compute=[0.0, 1e18], cost=COST)
    with pytest.raises(ConfigError, match="column 'N'"):
        fit_isoflops(surrogate, pd.DataFrame({"M": [1.0]}), compute=[1e18], cost=COST)
    plain = ps.RunLog.from_frame(log.to_frame(), run="run", axis="tokens", output="loss")
    with pytest.raises(ConfigError, match="params role"):
        fit_isoflops(ps.fit_surrogate(plain, embedder=None), compute=[1e18], cost=COST)
