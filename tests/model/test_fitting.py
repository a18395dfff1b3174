"""Fits: the same twice, robust against clusters of outliers, and never ended by a singular covariance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.optimize import minimize

from probscale.model.fitting import fit_process, fit_robustly, held, refine
from probscale.model.gp import CurveProcess, Observations
from probscale.model.layout import LabelBlock, Layout
from probscale.model.mean_fit import fit_mean
from probscale.model.means import LawMean, LawScale, PlaneMean, Rows
from probscale.model.transforms import LogFloor
from probscale.model.weighing import leave_one_out, predict_dense, robust_weights
from tolerances import ALGEBRA, EXACT

OUTLIERS = np.arange(50, 66, 3)


def simulated(outliers=False, seed=0):
    """Eighty points of a smooth function, by rising first setting; a cluster of six may lie far above."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (80, 2))
    y = 0.3 * np.sin(1.5 * x[:, 0]) - 0.2 * x[:, 1] + 0.02 * rng.standard_normal(80)
    order = np.argsort(x[:, 0])
    x, y = x[order], y[order]
    y[OUTLIERS] += 3.0 * outliers
    parts = (torch.from_numpy(v.copy()) for v in (x, 16 + x[:, 1], np.full(80, 20.0)))
    return Observations(Rows(*parts), torch.from_numpy(y), torch.ones(80, dtype=torch.float64))


def fresh(make_law):
    mean = PlaneMean(make_law().scale, level=0.0, spread=1.0)
    return CurveProcess(Layout(("lr", "N"), sizes=(1,)), mean, scale=0.3, noise=0.03)


def parameters(process):
    return np.concatenate([p.detach().numpy().ravel() for p in process.parameters()])


def test_equal_fits_end_at_equal_parameters(make_law):
    found = []
    for _ in range(2):
        process = fresh(make_law)
        data, outcome = fit_robustly(process, simulated(), rounds=1, iterations=8, polish=4)
        found.append(np.r_[parameters(process), data.weight.numpy(), outcome.objective])
    np.testing.assert_array_equal(found[0], found[1])


def test_a_fit_raises_the_log_posterior_and_finds_the_noise(make_law):
    process, data = fresh(make_law), simulated()
    with torch.no_grad():
        before = float(process.log_likelihood(data) + process.log_prior())
    outcome = fit_process(process, data)
    with torch.no_grad():
        after = float(process.log_likelihood(data) + process.log_prior())
        noise = float(process.noise(data.rows)[0].sqrt())
    assert after > before
    assert outcome.objective == pytest.approx(after, rel=ALGEBRA)
    assert outcome.failures == 0
    assert noise == pytest.approx(0.02, rel=0.4)


def test_a_fit_that_gains_little_may_settle(make_law):
    patient, hasty = fresh(make_law), fresh(make_law)
    whole = fit_process(patient, simulated(), iterations=60)
    short = fit_process(hasty, simulated(), iterations=60, settled=0.5)
    assert short.evaluations < whole.evaluations
    assert whole.objective - 1.0 < short.objective <= whole.objective + 1e-6


def test_a_hurried_fit_stops_sooner_near_the_same_end(make_law):
    patient, hasty = fresh(make_law), fresh(make_law)
    _, whole = fit_robustly(patient, simulated(), rounds=0, iterations=60)
    _, short = fit_robustly(hasty, simulated(), rounds=0, iterations=60, hurried=True)
    assert short.evaluations < whole.evaluations
    assert whole.objective - 1.5 < short.objective <= whole.objective + 1e-6


def test_more_points_refine_what_fewer_have_taught(make_law):
    data, process = simulated(), fresh(make_law)
    _, few = fit_robustly(process, data.take(torch.arange(0, 80, 8)))

    def posterior():
        with torch.no_grad():
            return float(process.log_likelihood(data) + process.log_prior())

    before = posterior()
    both = refine(process, data, few)
    assert posterior() > before + 0.5
    assert both.evaluations > few.evaluations


def test_a_cluster_of_outliers_loses_its_weight(make_law):
    process, data = fresh(make_law), simulated(outliers=True)
    data, _ = fit_robustly(process, data)
    others = np.setdiff1d(np.arange(80), OUTLIERS)
    assert (data.weight[OUTLIERS] < 0.1).all()
    assert (data.weight[others] > 0.25).double().mean() > 0.95
    clean = simulated()
    mean, _ = predict_dense(process, data, data.rows)
    assert float((mean - clean.y)[others].abs().median()) < 0.03


def test_a_suspect_that_the_others_predict_is_readmitted(make_law):
    process, data = fresh(make_law), simulated()
    fit_process(process, data, iterations=15)
    accused = data.weight.clone()
    accused[[5, 40]] = 0.01
    weight = robust_weights(process, replace(data, weight=accused))
    assert (weight[[5, 40]] > 0.5).all()


def test_where_all_points_are_suspect_all_judge(make_law):
    process, data = fresh(make_law), simulated()
    accused = replace(data, weight=torch.full_like(data.weight, 0.01))
    np.testing.assert_allclose(robust_weights(process, accused), robust_weights(process, data))


def test_the_mean_is_fitted_against_outliers(make_law):
    rng = np.random.default_rng(4)
    size = torch.from_numpy(rng.uniform(14, 18, 60))
    y = 0.5 - 0.3 * (size - 16) + torch.from_numpy(0.01 * rng.standard_normal(60))
    y[:6] += 4.0
    rows = Rows(torch.stack([size, size], 1), size, torch.full_like(size, 20.0))
    process = fresh(make_law)
    spread = fit_mean(process.mean, Observations(rows, y, torch.ones_like(y)))
    assert process.mean.described()["size_slope"] == pytest.approx(-0.3, abs=0.01)
    assert process.mean.described()["level"] == pytest.approx(0.5, abs=0.01)
    assert 0.005 < spread < 0.02


def test_a_law_of_few_sizes_is_fitted_to_the_end():
    """The profile of the Student-t posterior is flat there: its scale optimised apart, slopes by differences."""
    size = torch.linspace(15, 18, 12, dtype=torch.float64)
    y = torch.log(0.5 + 2.2 * torch.exp(-0.12 * (size - 16))) + 0.004 * torch.sin(7 * size)
    rows = Rows(size[:, None], size, torch.full_like(size, 20.0))
    mean = LawMean(
        LogFloor(0.0), LawScale(16.5, 20.0, float(y.exp().min()), float(y.exp().median()), True, False)
    )
    fit_mean(mean, Observations(rows, y, torch.ones_like(y)))
    location, std = (part.numpy() for part in mean.prior())
    scales = np.geomspace(1e-3, 0.1, 400)

    def profile(values):
        with torch.no_grad():
            residual = (y - mean.evaluate(torch.from_numpy(values), rows)).numpy()
        density = stats.t.logpdf(residual, 4, scale=scales[:, None]).sum(axis=1)
        return 0.5 * (((values - location) / std) ** 2).sum() - density.max()

    found = mean.values().detach().numpy()
    best = minimize(profile, found, method="Nelder-Mead", options={"maxiter": 400})
    assert profile(found) < best.fun + 0.05


def test_leaving_one_out_is_predicting_from_the_rest(make_law, scramble):
    process, data = scramble(fresh(make_law)), simulated()
    residual, variance = leave_one_out(process, data)
    for one in (0, 17, 79):
        rest = torch.tensor([i for i in range(80) if i != one])
        asked = data.take(slice(one, one + 1))
        mean, latent = predict_dense(process, data.take(rest), asked.rows)
        noise = process.noise(asked.rows).detach()
        np.testing.assert_allclose(residual[one], asked.y[0] - mean[0], rtol=1e-6, atol=ALGEBRA)
        np.testing.assert_allclose(variance[one], latent[0] + noise[0], rtol=1e-6)


def test_a_singular_covariance_is_a_bad_point_not_an_error(make_law):
    """Infinite weights leave no noise on coinciding rows: nothing can be factored, and the fit says so."""
    process, data = fresh(make_law), simulated()
    rows = data.rows.take(torch.zeros(80, dtype=torch.long))
    start = parameters(process)
    outcome = fit_process(process, Observations(rows, data.y, torch.full((80,), torch.inf).double()))
    assert outcome.failures > 0
    assert np.isfinite(parameters(process)).all()
    np.testing.assert_allclose(parameters(process), start, rtol=EXACT)


def test_values_that_are_not_finite_move_nothing(make_law):
    process, data = fresh(make_law), simulated()
    start = parameters(process)
    outcome = fit_process(process, replace(data, y=torch.full_like(data.y, torch.nan)))
    assert outcome.failures > 0
    np.testing.assert_array_equal(parameters(process), start)


def test_held_parameters_stay_and_are_free_again_afterwards(make_law):
    process = fresh(make_law)
    before = process.mean.values().detach().clone()
    with held(process.mean.parameters()):
        fit_process(process, simulated(), iterations=5)
    np.testing.assert_array_equal(process.mean.values().detach(), before)
    assert all(parameter.requires_grad for parameter in process.parameters())


def test_the_objective_of_a_fit_counts_the_priors_of_parameters_that_stay(make_law):
    process, data = fresh(make_law), simulated()
    process.noise.get_parameter("level").requires_grad_(False)
    outcome = fit_process(process, data, iterations=6)
    with torch.no_grad():
        expected = float(process.log_likelihood(data) + process.log_prior())
    assert outcome.objective == pytest.approx(expected, rel=1e-10)


def test_priors_in_closed_form_have_the_slopes_of_those_of_all_terms(make_law):
    mean = PlaneMean(make_law().scale, level=0.0, spread=1.0)
    layout = Layout(("lr", "N"), sizes=(1,), labels=(LabelBlock("task", 2, text=(3, 4), level=True),))
    process = CurveProcess(layout, mean, scale=0.3, noise=0.03)
    free = list(process.parameters())
    with torch.no_grad():
        for place, parameter in enumerate(free):
            parameter.add_(0.1 * (place + 1))
    location, std = process.prior_of(free)
    slopes = torch.autograd.grad(process.log_prior(), free, allow_unused=True)
    flat = torch.cat([p.detach().reshape(-1) for p in free])
    expected = torch.cat(
        [
            torch.zeros_like(p).reshape(-1) if s is None else s.reshape(-1)
            for s, p in zip(slopes, free, strict=True)
        ]
    )
    # Terms share the correlation of a label, whose priors then count in each of them.
    np.testing.assert_allclose((location - flat) / std.square(), expected, rtol=ALGEBRA, atol=1e-12)
