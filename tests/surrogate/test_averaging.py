"""Curves over a small grid: a plane at first, from which a law takes over along the axis."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import probscale as ps
from probscale.model.posterior import Tail
from probscale.runs import RunLog
from probscale.surrogate import FitOptions, load_surrogate
from probscale.surrogate.averaging import Mixture, corners, shares_at
from probscale.surrogate.population import population_level
from tolerances import ALGEBRA, EXACT, monte_carlo

WIDTHS, DEPTHS = (128, 256, 384, 512), (2, 4, 8, 16)
STEPS = np.geomspace(1, 2e4, 8)
QUICK = FitOptions(iterations=15, rounds=1)


def grid(seed=0, *, without=()):
    """Curves that begin at the loss of guessing and end on a law of their size."""
    rng = np.random.default_rng(seed)
    rows = []
    for width, depth in itertools.product(WIDTHS, DEPTHS):
        if (width, depth) in without:
            continue
        size = 12 * depth * width**2
        gone = (1 + STEPS / 20) ** -0.45
        loss = (1.8 + 60 * size**-0.25) * (1 - gone) + 10.8 * gone
        loss *= np.exp(0.003 * rng.standard_normal(len(STEPS)))
        rows += [
            {"run": f"{width}x{depth}", "width": width, "depth": depth, "N": size, "step": s, "loss": value}
            for s, value in zip(STEPS, loss, strict=True)
        ]
    return pd.DataFrame(rows)


CORNER = tuple(itertools.product((384, 512), (8, 16)))
ROLES = {"run": "run", "axis": "step", "output": "loss", "params": "N", "levels": ("width", "depth")}


def fitted(frame, **options):
    return ps.fit_surrogate(
        RunLog.from_frame(frame, **ROLES), embedder=None, options=replace(QUICK, **options)
    )


@pytest.fixture(scope="module")
def surrogate():
    return fitted(grid(without=CORNER))


@pytest.fixture(scope="module")
def expert(surrogate):
    (found,) = surrogate.experts.values()
    return found


@pytest.fixture(scope="module")
def asked():
    return pd.DataFrame([{"width": w, "depth": d, "N": 12 * d * w**2} for w, d in CORNER])


def test_the_law_takes_over_along_the_axis_and_the_report_says_where(surrogate, expert):
    (report,) = surrogate.report.experts
    assert STEPS[0] < report.takeover < STEPS[-1]
    first, last = shares_at(expert.weights, expert.takeover, np.log(STEPS[[0, -1]])).T
    assert first[0] < 0.5 < last[0]
    np.testing.assert_allclose([first.sum(), last.sum()], 1.0)
    assert f"the law takes over at {report.takeover:.4g}" in str(surrogate.report)
    assert "alpha" in report.law


def test_curves_of_a_corner_never_seen_lie_within_their_intervals(surrogate, asked):
    whole = grid()
    lower, upper = surrogate.predict(asked, STEPS).interval(0.95)
    truth = np.stack([whole[whole.run == f"{w}x{d}"].loss for w, d in CORNER])
    assert ((lower < truth) & (truth < upper)).mean() > 0.85
    assert np.abs(surrogate.predict(asked, STEPS).median - truth)[:, -2:].max() < 0.05


def test_draws_have_the_moments_of_the_posterior(surrogate, asked):
    curves = surrogate.predict(asked, STEPS)
    draws = curves.sample(4_000, seed=1)
    assert (np.abs(draws.mean(axis=0) - curves.mean) < monte_carlo(4_000, curves.std)).all()
    # Rare wide runs make the variance of a sample uncertain: four standard deviations of ten per cent.
    np.testing.assert_allclose(draws.std(axis=0), curves.std, rtol=0.4)
    lower, upper = curves.interval(0.8)
    inside = ((draws > lower) & (draws < upper)).mean(axis=0)
    assert np.abs(inside - 0.8).max() < 4 * np.sqrt(0.8 * 0.2 / 4_000)


def test_latent_draws_have_the_joint_covariance(expert, asked):
    at = np.tile(STEPS, (len(asked), 1))
    block = expert.block(asked, -np.arange(1.0, len(asked) + 1), at).latent()
    block = replace(block, tail=Tail())
    centre, covariance, _ = block.joint()
    drawn, deviation = block.draws.draw(np.random.default_rng(0), 20_000, noisy=False)
    flat = (drawn + deviation).reshape(20_000, -1)
    std = np.sqrt(covariance.diagonal())
    assert (np.abs(flat.mean(axis=0) - centre.ravel()) < 5 * std / np.sqrt(20_000)).all()
    np.testing.assert_allclose(
        np.cov(flat.T) / np.outer(std, std), covariance / np.outer(std, std), atol=0.06
    )


def test_a_saved_surrogate_answers_alike(surrogate, asked, tmp_path):
    surrogate.save(tmp_path / "grid.safetensors")
    other = load_surrogate(tmp_path / "grid.safetensors", embedder=None)
    one, two = (each.predict(asked, STEPS) for each in (surrogate, other))
    np.testing.assert_allclose(one.quantile(0.2), two.quantile(0.2), rtol=EXACT)
    np.testing.assert_array_equal(one.sample(3, seed=0), two.sample(3, seed=0))
    assert other.report == surrogate.report


def test_a_measured_prefix_narrows_what_follows(surrogate, asked):
    whole = grid()
    begun = whole[(whole.run == "512x16") & (whole.step < 500)]
    longer = surrogate.condition(RunLog.from_frame(begun, **ROLES))
    question = asked.assign(run=[f"{w}x{d}" for w, d in CORNER])
    before, after = (each.predict(question, STEPS[-2:]).latent().std for each in (surrogate, longer))
    assert (after[-1] < before[-1]).all()
    assert (after[:-1] <= before[:-1] * 1.2).all()


def test_the_botorch_view_has_the_same_mean_and_covariance(surrogate, expert, asked):
    model = surrogate.botorch(STEPS)
    posterior = model.posterior(model.encode(asked))
    at = np.tile(STEPS, (len(asked), 1))
    block = expert.block(asked, np.zeros(len(asked)), at).latent()
    location = sum(part.weight * part.location for part in block.components)
    np.testing.assert_allclose(-posterior.mean.detach().numpy(), location, rtol=ALGEBRA)
    (average,) = population_level(surrogate).experts.values()
    block = average.block(asked, -np.arange(1.0, len(asked) + 1), at)
    expected = block.joint()[1]
    covariance = posterior.distribution.covariance_matrix.detach().numpy()
    np.testing.assert_allclose(covariance, expected, atol=1e-3 * expected.diagonal().max())
    own = model.posterior(model.encode(asked), observation_noise=True).variance
    assert (own > posterior.variance).all()


def test_gradients_flow_through_the_takeover(surrogate, asked):
    model = surrogate.botorch([STEPS[3], STEPS[-1]])
    x = model.encode(asked).clone().requires_grad_(True)
    model.posterior(x).variance.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_one_mean_answers_where_it_is_asked_for_or_no_law_applies():
    frame = grid(without=CORNER)
    assert fitted(frame, means=("plane",)).report.experts[0].takeover is None
    assert fitted(frame, average=False).report.experts[0].takeover is None
    scores = frame.assign(loss=(11 - frame.loss) / 11)
    log = RunLog.from_frame(scores, **ROLES, goal="max")
    report = ps.fit_surrogate(log, embedder=None, options=QUICK, transform="linear").report.experts[0]
    assert report.takeover is None


def test_corners_are_wider_and_deeper_and_known_elsewhere(expert):
    state = expert.states[0]
    x = state.data.rows.x.numpy()[:, :2]
    found = corners(state)
    assert found
    for group in found:
        rest = np.setdiff1d(np.arange(len(x)), group)
        low = x[group].min(axis=0)
        inside = (x >= low - 1e-9).all(axis=1)
        np.testing.assert_array_equal(np.flatnonzero(inside), group)
        assert all(set(x[group, j]) <= set(x[rest, j]) for j in (0, 1))
        assert 2 * len(group) <= len(rest) + 1e-9


def test_densities_of_what_is_left_out_are_those_of_the_other_points(expert):
    state = expert.states[0]
    group = corners(state)[0]
    rest = torch.from_numpy(np.setdiff1d(np.arange(len(state.data)), group))
    with torch.no_grad():
        process, rows = state.process, state.data.rows
        mean, slopes = process.mean.linearised(rows)
        full = process.kernel(rows.x) + slopes @ slopes.mT
        full = full + torch.diag(process.noise(rows) / state.data.weight)
        cross = full[group][:, rest]
        gain = torch.linalg.solve(full[rest][:, rest], cross.mT).mT
        location = mean[group] + gain @ (state.data.y - mean)[rest]
        std = (full[group][:, group] - gain @ cross.mT).diagonal().sqrt()
        expected = torch.distributions.Normal(location, std).log_prob(state.data.y[group])
    np.testing.assert_allclose(state.density_without(group), expected.numpy(), rtol=1e-6, atol=1e-6)


def test_left_out_residuals_of_a_mixture_are_those_of_its_members(expert):
    state = expert.states[0]
    groups = np.arange(len(state.data)) // 8
    one = Mixture((state, state), np.array([0.3, 0.7])).left_out(groups)
    other = state.leave_groups_out(groups)
    np.testing.assert_allclose(one[0], other[0].numpy(), rtol=ALGEBRA)
    np.testing.assert_allclose(one[1], other[1].numpy(), rtol=ALGEBRA)


def test_shares_follow_the_takeover():
    share = shares_at(np.array([0.5, 0.5]), np.log(20.0), np.log(np.array([20.0, 180.0])))
    np.testing.assert_allclose(share[0], [0.5, 0.9])
    np.testing.assert_allclose(
        shares_at(np.array([0.2, 0.8]), None, np.zeros((2, 3)))[1], np.full((2, 3), 0.8)
    )
