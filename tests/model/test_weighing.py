"""Weights of points: those of a Student-t likelihood, before and after the kernel is known."""

import numpy as np
import pytest
import torch

from probscale.model.gp import CurveProcess, Observations
from probscale.model.layout import Layout
from probscale.model.means import LawScale, PlaneMean, Rows
from probscale.model.weighing import SUSPECT, first_weights, leave_one_out, robust_weights, spread_of
from tolerances import ALGEBRA


@pytest.fixture
def process():
    scale = LawScale(
        size=0.0, progress=0.0, smallest=1.0, typical=2.0, varies_in_size=False, varies_in_progress=False
    )
    return CurveProcess(Layout(("lr",)), PlaneMean(scale, level=0.0, spread=1.0), scale=0.2, noise=0.1)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    x, none = torch.from_numpy(rng.standard_normal((31, 1))), torch.zeros(31, dtype=torch.float64)
    y = torch.from_numpy(0.1 * rng.standard_normal(31))
    return Observations(Rows(x, none, none), y, torch.ones_like(y))


def student(squared):
    """Expected precision of a point with four degrees of freedom, relative to that of a normal one."""
    return 5.0 / (4.0 + squared)


def test_the_robust_spread_is_the_standard_deviation_of_normal_residuals_and_never_nothing():
    residual = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, 20_000))
    assert spread_of(residual) == pytest.approx(0.3, rel=0.03)
    residual[:4_000] *= 50
    assert spread_of(residual) < 0.45
    assert spread_of(torch.zeros(5)) == 1e-3


def test_first_weights_judge_by_three_robust_spreads_around_the_mean(process, data):
    spread = 1.4826 * np.median(np.abs(data.y.numpy()))
    expected = student((data.y.numpy() / (3 * spread)) ** 2)
    np.testing.assert_allclose(first_weights(process, data).numpy(), expected, rtol=ALGEBRA)


def test_weights_are_those_of_points_left_out_in_turn(process, data):
    """Each point foretold by all others through a dense solve of its own."""
    found = robust_weights(process, data).detach().numpy()
    with torch.no_grad():
        covariance = process.kernel(data.rows.x) + torch.diag(process.noise(data.rows))
    squared = []
    for i in range(len(data)):
        rest = np.delete(np.arange(len(data)), i)
        gain = torch.linalg.solve(covariance[rest][:, rest], covariance[rest, i])
        left = data.y[i] - gain @ data.y[rest]
        squared.append(float(left**2 / (covariance[i, i] - gain @ covariance[rest, i])))
    np.testing.assert_allclose(found, student(np.array(squared)), rtol=1e-6)


def test_a_cluster_of_suspects_does_not_vouch_for_itself(process, data):
    y, weight = data.y.clone(), data.weight.clone()
    near = torch.argsort(data.rows.x[:, 0])[:4]
    y[near] += 3.0
    together = robust_weights(process, Observations(data.rows, y, weight))
    weight[near] = 0.05
    apart = robust_weights(process, Observations(data.rows, y, weight))
    assert (apart[near] < together[near]).all()
    assert (apart[near] < SUSPECT).all()
    # What the others foretell after all is readmitted, though it was suspect.
    again = robust_weights(process, Observations(data.rows, data.y, weight))
    assert (again[near] > 2 * SUSPECT).all()


def test_residuals_of_points_left_out_know_their_weights(process, data):
    lighter = Observations(data.rows, data.y, torch.full_like(data.y, 0.25))
    residual, variance = leave_one_out(process, lighter)
    with torch.no_grad():
        covariance = process.kernel(data.rows.x) + torch.diag(4 * process.noise(data.rows))
    rest = np.arange(1, len(data))
    gain = torch.linalg.solve(covariance[rest][:, rest], covariance[rest, 0])
    assert float(residual[0]) == pytest.approx(float(data.y[0] - gain @ data.y[rest]), rel=1e-6)
    assert float(variance[0]) == pytest.approx(float(covariance[0, 0] - gain @ covariance[rest, 0]), rel=1e-6)


def test_suspects_are_judged_by_the_others_alone_at_the_weights_these_have(process, data):
    weight = torch.full_like(data.y, 0.5)
    weight[:3] = 0.05
    found = robust_weights(process, Observations(data.rows, data.y, weight)).detach()[:3]
    with torch.no_grad():
        prior, noise = process.kernel(data.rows.x), process.noise(data.rows)
        process.mean.get_parameter("level").fill_(0.2)
        moved = robust_weights(process, Observations(data.rows, data.y + 0.2, weight))[:3]
    others = prior[3:, 3:] + torch.diag(noise[3:] / 0.5)
    gain = torch.linalg.solve(others, prior[3:, :3])
    left = data.y[:3] - gain.mT @ data.y[3:]
    variance = (prior[:3, :3] - prior[:3, 3:] @ gain).diagonal() + noise[:3]
    np.testing.assert_allclose(found, student((left.square() / variance).detach().numpy()), rtol=1e-6)
    np.testing.assert_allclose(moved, found, rtol=1e-6)
