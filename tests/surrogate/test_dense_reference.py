"""Every number of the surrogate against a Gaussian process solved densely in numpy.

The kernel, the noise and the linearised mean are taken from the expert; conditioning, transform and calibration are done
here a second time, from the textbook.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from probscale.model.transforms import LogFloor
from probscale.surrogate.curves import run_codes
from tolerances import ALGEBRA, monte_carlo


class Dense:
    """Posterior of rows given observations, by solving with the full covariance."""

    def __init__(self, process, rows, y, weight, asked):
        with torch.no_grad():
            mean, slopes = (v.numpy() for v in process.mean.linearised(rows))
            mean_asked, slopes_asked = (v.numpy() for v in process.mean.linearised(asked))
            noise = process.noise(rows).numpy() / weight
            self.noise = process.noise(asked).numpy()
            inner = process.kernel(rows.x).numpy() + slopes @ slopes.T + np.diag(noise)
            cross = process.kernel(asked.x, rows.x).numpy() + slopes_asked @ slopes.T
            prior = process.kernel(asked.x).numpy() + slopes_asked @ slopes_asked.T
        self.mean = mean_asked + cross @ np.linalg.solve(inner, y - mean)
        self.covariance = prior - cross @ np.linalg.solve(inner, cross.T)


def asked_rows(expert, configs, codes, at):
    index = np.repeat(np.arange(len(configs)), at.shape[1])
    return expert.rows(configs, codes, index, at.ravel())


def only_expert(surrogate):
    (expert,) = surrogate.experts.values()
    (state,) = expert.states
    assert isinstance(expert.transform, LogFloor)
    return expert, state


@pytest.fixture(scope="module")
def dense(surrogate, new):
    expert, state = only_expert(surrogate)
    at = np.tile(new.at, (len(new.configs), 1))
    rows = asked_rows(expert, new.configs, -np.arange(1.0, len(new.configs) + 1), at)
    data = state.data
    return Dense(state.process, data.rows, data.y.numpy(), data.weight.numpy(), rows), rows


def scales(expert, rows, shape):
    """Calibrated factor on the standard deviation, (configs, points)."""
    size, progress = (getattr(rows, name).numpy() for name in ("size", "progress"))
    longer = np.clip((progress - expert.largest[1]) / 0.25, 0.0, 1.0)
    outside = np.where(size > expert.largest[0] + 0.05, 1.0, longer).reshape(shape)
    return np.exp(np.log(expert.beyond) * outside) * expert.tail.scale


def test_latent_marginals_are_those_of_the_dense_solve(surrogate, new, dense):
    expert, _ = only_expert(surrogate)
    reference, rows = dense
    curves = surrogate.predict(new.configs, new.at).latent()
    scale = scales(expert, rows, curves.shape)
    std = scale * np.sqrt(np.diag(reference.covariance)).reshape(curves.shape)
    law = stats.lognorm(s=std, scale=np.exp(reference.mean).reshape(curves.shape), loc=expert.transform.floor)
    np.testing.assert_allclose(curves.mean, law.mean(), rtol=ALGEBRA)
    np.testing.assert_allclose(curves.std, law.std(), rtol=1e-5)
    for q in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(curves.quantile(q), law.ppf(q), rtol=1e-7)


def test_predictive_distribution_mixes_ordinary_and_wide_runs(surrogate, new, dense):
    expert, _ = only_expert(surrogate)
    reference, rows = dense
    curves = surrogate.predict(new.configs, new.at)
    variance = np.diag(reference.covariance)
    scale, tail = scales(expert, rows, curves.shape).ravel(), expert.tail
    total = np.zeros(len(variance))
    threshold = curves.mean.ravel() * 1.01
    for share, spread in ((1 - tail.share, 1.0), (tail.share, tail.spread)):
        std = scale * spread * np.sqrt(variance + reference.noise)
        total += share * stats.norm.cdf((np.log(threshold - expert.transform.floor) - reference.mean) / std)
    found = curves.prob_below(threshold.reshape(curves.shape)).ravel()
    np.testing.assert_allclose(found, total, rtol=1e-6)


def test_joint_samples_have_the_dense_covariance(surrogate, new, dense):
    expert, _ = only_expert(surrogate)
    reference, rows = dense
    n, shape = 4_000, (len(new.configs), len(new.at))
    draws = surrogate.predict(new.configs, new.at).latent().sample(n, seed=11).reshape(n, -1)
    found = np.cov(np.log(draws - expert.transform.floor), rowvar=False)
    scale = scales(expert, rows, shape).ravel()
    expected = scale[:, None] * reference.covariance * scale
    diagonal = np.diag(expected)
    error = monte_carlo(n, np.sqrt(np.outer(diagonal, diagonal) + expected**2))
    assert (np.abs(found - expected) < error).all()


def test_conditioning_is_the_dense_solve_with_all_observations(surrogate, log, new):
    """Longer data without a refit: the same parameters, one bigger system."""
    import probscale as ps

    more = ps.simulate_runs("law", n_runs=24, points=8, tasks=2, seed=5).truncate(fraction=0.9)
    extra = more.to_frame().drop(columns="diverged")
    extra = extra[extra["run"].isin(log.runs[:3])].assign(run=lambda f: "again " + f["run"].astype(str))
    added = ps.RunLog.from_frame(extra, **log.roles.arguments())
    conditioned = surrogate.condition(added)
    expert, state = only_expert(surrogate)
    codes = run_codes(list(added.runs))
    at = added.points[log.roles.axis].to_numpy(dtype=float)
    rows = state.data.rows.cat(expert.rows(added.configs, codes, added.codes, at))
    y = np.r_[state.data.y.numpy(), expert.transform.forward(added.points["loss"].to_numpy(dtype=float))]
    weight = np.r_[state.data.weight.numpy(), np.ones(added.n_points)]
    asked = np.tile(new.at, (len(new.configs), 1))
    asked_row = asked_rows(expert, new.configs, -np.arange(1.0, len(new.configs) + 1), asked)
    reference = Dense(state.process, rows, y, weight, asked_row)
    curves = conditioned.predict(new.configs, new.at).latent()
    median = expert.transform.inverse(reference.mean).reshape(curves.shape)
    np.testing.assert_allclose(curves.median, median, rtol=ALGEBRA)
    z = np.log(curves.quantile(0.975) - expert.transform.floor) - np.log(
        curves.median - expert.transform.floor
    )
    std = scales(expert, asked_row, curves.shape) * np.sqrt(np.diag(reference.covariance)).reshape(
        curves.shape
    )
    np.testing.assert_allclose(z / stats.norm.ppf(0.975), std, rtol=1e-6)


def test_a_prefix_is_the_dense_posterior_of_its_own_run(surrogate, log):
    """A run of the log is continued: its code ties it to its own observations."""
    expert, state = only_expert(surrogate)
    run = log.runs[2]
    at = np.array([[2.0, 3.0]]) * log.points[log.points["run"] == run]["tokens"].max()
    rows = asked_rows(expert, log.configs.loc[[run]], run_codes([run]), at)
    reference = Dense(state.process, state.data.rows, state.data.y.numpy(), state.data.weight.numpy(), rows)
    curves = surrogate.predict([{"run": run, "task": log.configs.loc[run, "task"]}], at).latent()
    np.testing.assert_allclose(curves.median.ravel(), expert.transform.inverse(reference.mean), rtol=ALGEBRA)
