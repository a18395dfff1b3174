"""Curves on a grid against one dense covariance over all cells."""

import copy

import numpy as np
import pytest
import torch

from probscale.errors import NotPositiveDefiniteError
from probscale.model.grid import GridData, GridProcess
from probscale.model.grid_posterior import GridQuery, GridState, solve_grid
from probscale.model.layout import Layout
from tolerances import monte_carlo

RUNS, GRID = 7, 6


@pytest.fixture(scope="module")
def process():
    generator = torch.Generator().manual_seed(1)
    built = GridProcess(Layout(("lr", "width")), scale=0.5, centre=0.3, ends=(-1.5, 1.5))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return built.requires_grad_(False)


STRAYS = np.zeros((RUNS, 3))
STRAYS[[2, 5]] = [[0.3, 0.1, 0.2], [0.5, -0.05, 0.01]]


def data_with(seen, strays=None):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((RUNS, 2)))
    y = torch.from_numpy(0.3 + 0.4 * rng.standard_normal((RUNS, GRID)))
    axis = torch.linspace(-1.5, 1.5, GRID, dtype=torch.float64)
    strays = None if strays is None else torch.from_numpy(strays)
    return GridData(x, axis, y, torch.from_numpy(seen), strays)


def prefixes():
    seen = np.arange(GRID)[None] < np.array([6, 1, 3, 5, 2, 4, 3])[:, None]
    seen[0, 2] = False
    return seen


PATTERNS = {"complete": np.ones((RUNS, GRID), dtype=bool), "prefixes": prefixes()}
LOGS = {name: (seen, None) for name, seen in PATTERNS.items()}
LOGS |= {f"{name}, two stray": (seen, STRAYS) for name, seen in PATTERNS.items()}


@pytest.fixture(params=LOGS, scope="module")
def state(request, process):
    return solve_grid(process, data_with(*LOGS[request.param]))


def dense(process, strays, x1, t1, run1, x2, t2, run2):
    """Covariance of latent cells written out."""
    between = process.between(x1, x2) * (process.features(t1) @ process.features(t2).mT)
    same = (run1[:, None] == run2[None]).astype(float)
    total = (between + torch.from_numpy(same) * process.own(t1, t2)).numpy()
    known = np.zeros((RUNS, 3)) if strays is None else strays.numpy()
    level, both, slope = np.r_[known, np.zeros((200, 3))][run1].T[:, :, None]
    one, two = t1.numpy()[:, None], t2.numpy()[None]
    return total + same * (level + both * (one + two) + slope * one * two)


def cells(data):
    run, place = np.nonzero(data.seen.numpy())
    return data.x[run], data.axis[place], run, data.y.numpy()[run, place]


def asked(data):
    """Continuations of two runs, one asked twice, and two new runs."""
    x = torch.cat([data.x[[2, 4, 2]], torch.tensor([[0.1, 0.2], [3.0, -1.0]], dtype=torch.float64)])
    axis = torch.tensor([[0.0, 1.9], [-1.5, 1.5], [0.4, 0.8], [0.0, 1.5], [2.5, 1.0]], dtype=torch.float64)
    return GridQuery(x, axis, torch.tensor([2, 4, 2, -1, -1]))


def reference(process, data, query):
    x, t, run, y = cells(data)
    names = np.where(query.member.numpy() >= 0, query.member.numpy(), 100 + np.arange(len(query.member)))
    points = query.axis.shape[1]
    xs, ts, runs = query.x.repeat_interleave(points, 0), query.axis.flatten(), np.repeat(names, points)
    k = dense(process, data.strays, x, t, run, x, t, run) + np.diag(process.noise(t).numpy())
    c = dense(process, data.strays, x, t, run, xs, ts, runs)
    solved = np.linalg.solve(k, c)
    prior = dense(process, data.strays, xs, ts, runs, xs, ts, runs)
    return process.centre + solved.T @ (y - process.centre), prior - c.T @ solved


def test_marginals_and_covariance_are_those_of_the_dense_process(state, process):
    query = asked(state.data)
    mean, covariance = reference(process, state.data, query)
    found, variance = state.marginals(query)
    np.testing.assert_allclose(found.flatten(), mean, rtol=1e-6)
    np.testing.assert_allclose(variance.flatten(), np.diag(covariance), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(state.covariance(query), covariance, rtol=1e-5, atol=1e-8)


def test_likelihood_is_that_of_the_dense_process(state, process):
    x, t, run, y = cells(state.data)
    k = dense(process, state.data.strays, x, t, run, x, t, run) + np.diag(process.noise(t).numpy())
    centre = torch.full((len(y),), process.centre, dtype=torch.float64)
    normal = torch.distributions.MultivariateNormal(centre, torch.from_numpy(k))
    expected = float(normal.log_prob(torch.from_numpy(y)))
    assert float(process.log_likelihood(state.data)) == pytest.approx(expected, rel=1e-7)


def test_a_complete_grid_gives_the_same_by_eigenvectors_and_by_one_factor(process):
    from probscale.model.grid import DenseSystem, EigenSystem, dense_system

    state = solve_grid(process, data_with(PATTERNS["complete"]))
    assert isinstance(state.system, EigenSystem)
    system = dense_system(process.between(state.data.x, state.data.x), state.says)
    assert isinstance(system, DenseSystem)
    other = GridState(process, state.data, state.says, system, system.solve(state.says.moment))
    for one, two in zip(state.marginals(asked(state.data)), other.marginals(asked(state.data)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("twice", [False, True])
def test_draws_have_the_posterior_covariance(state, twice):
    query = asked(state.data) if twice else asked(state.data).take(torch.tensor([0, 1, 3, 4]))
    n = 40_000
    draws = state.draw(query, np.random.default_rng(3), n).reshape(n, -1)
    covariance = state.covariance(query).numpy()
    sd = np.sqrt(np.diag(covariance))
    assert np.all(np.abs(draws.mean(axis=0)) < monte_carlo(n, sd))
    found = np.cov(draws.T) / np.outer(sd, sd)
    np.testing.assert_allclose(found, covariance / np.outer(sd, sd), atol=5 * 2 / np.sqrt(n))


def test_gradients_are_those_of_finite_differences(process):
    data = data_with(PATTERNS["prefixes"])
    parameter = process.get_parameter("slope")
    parameter.requires_grad_(True)
    process.log_likelihood(data).backward()
    gradient = float(parameter.grad)
    values = []
    with torch.no_grad():
        for step in (1e-4, -2e-4):
            parameter.add_(step)
            values.append(float(process.log_likelihood(data)))
        parameter.add_(1e-4)
    parameter.requires_grad_(False)
    assert gradient == pytest.approx((values[0] - values[1]) / 2e-4, rel=1e-5)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_covariance_that_cannot_be_factored_is_said_to_be_so(process, pattern):
    broken = copy.deepcopy(process)
    with torch.no_grad():
        broken.get_parameter("run_level").fill_(400.0)
    with pytest.raises(NotPositiveDefiniteError, match=r"7 runs on a grid of 6 points .* pass model="):
        solve_grid(broken, data_with(PATTERNS[pattern]))
