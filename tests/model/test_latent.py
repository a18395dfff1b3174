"""The latent hierarchy against formulas written out with loops, quadrature and sampling."""

import numpy as np
import pytest
import torch

from probscale.model.evidence import laplace_evidence
from probscale.model.exact import solve_exactly
from probscale.model.gp import Observations
from probscale.model.latent import (
    LatentColumns,
    LatentProcess,
    LatentTasks,
    LevelMean,
    expected_correlation,
)
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import Rows
from tolerances import ALGEBRA

LAYOUT = Layout(("step",), axis=(0,), labels=(LabelBlock("task", 1, (2, 3), True), LabelBlock("d", 4)), run=5)
COLUMNS = LatentColumns(task=1, members=(4,), inputs=(0,), described=(2, 3))
CODES = torch.tensor([0.3, 1.7, 2.9], dtype=torch.float64)
TEXT = {0.3: (0.2, -0.4), 1.7: (0.9, 0.1), 2.9: (-0.5, 0.6), 7.7: (0.1, 0.3), 8.8: (-0.2, -0.1)}


def rows_of(cells):
    """Rows of (task, member, step)."""
    x = [[step, task, *TEXT[task], member, 10 * task + member] for task, member, step in cells]
    x = torch.tensor(x, dtype=torch.float64)
    return Rows(x, torch.zeros(len(x), dtype=torch.float64), x[:, 0])


@pytest.fixture
def process():
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    tasks = LatentTasks(COLUMNS, CODES, start)
    built = LatentProcess(LAYOUT, tasks, LevelMean(level=0.4, spread=1.0), scale=0.7, noise=0.1)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return built


def by_hand(process, a, b):
    """One entry of the covariance between known tasks, read off the definition."""
    value = {name: p.detach().numpy() for name, p in process.named_parameters()}
    v0 = np.exp(value["kernel.tasks.reserve"][0])

    def position(task):
        place = int(np.flatnonzero(np.isclose(CODES.numpy(), task))[0])
        deviation = value["kernel.tasks.deviation"][place]
        return np.array(TEXT[task]) @ value["kernel.tasks.weight"] + np.sqrt(v0) * deviation

    def matern(part):
        r = np.sqrt(3) * abs(a[2] - b[2]) / np.exp(value[f"kernel.{part}_width"][0])
        return np.exp(2 * value[f"kernel.{part}_scale"][0]) * (1 + r) * np.exp(-r)

    apart = (position(a[0]) - position(b[0])) / np.exp(value["kernel.tasks.width"])
    shared = np.exp(-0.5 * apart @ apart)
    return shared * (matern("shared") + (a[1] == b[1]) * matern("member"))


def test_covariance_of_known_tasks_is_the_definition(process):
    cells = [(0.3, 0, 0.1), (0.3, 1, 0.7), (1.7, 0, -0.4), (1.7, 1, 0.2), (2.9, 2, 1.1)]
    rows = rows_of(cells)
    expected = [[by_hand(process, a, b) for b in cells] for a in cells]
    found = process.kernel(rows.x).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=ALGEBRA, atol=1e-12)
    np.testing.assert_allclose(process.kernel(rows.x, diag=True).detach(), np.diag(expected), rtol=ALGEBRA)


def test_expected_correlation_is_the_mean_over_both_positions():
    rng = np.random.default_rng(0)
    mean, variance = torch.tensor([[0.3, -1.0], [0.8, 0.4]]).double(), torch.tensor([[0.5, 0.2], [0.0, 0.7]])
    width = torch.tensor([0.9, 1.4]).double()
    found = expected_correlation(mean, variance.double(), mean, variance.double(), width)[0, 1]
    h = mean.numpy()[:, None] + np.sqrt(variance.numpy())[:, None] * rng.standard_normal((2, 400_000, 2))
    draws = np.exp(-0.5 * (((h[0] - h[1]) / width.numpy()) ** 2).sum(-1))
    assert abs(float(found) - draws.mean()) < 5 * draws.std() / np.sqrt(draws.size)


def test_a_new_task_has_the_covariance_of_a_task_at_a_random_place(process):
    """Averages of the kernel over positions drawn around what the text foretells."""
    known, new = rows_of([(0.3, 0, 0.1)]), rows_of([(7.7, 0, 0.5), (7.7, 1, 0.9), (8.8, 0, 0.5)])
    tasks = process.tasks
    with torch.no_grad():
        cross = process.kernel(known.x, new.x)[0]
        among = process.kernel(new.x)
        v0 = float(tasks.prior_variance)
        here = tasks.positions(known.x)[0].numpy()[0]
        centre = tasks.foretold(new.x).numpy()
        inner_cross = process.kernel.inner(known.x, new.x).numpy()[0]
        inner = process.kernel.inner(new.x, new.x).numpy()
        width = tasks.lengthscale.numpy()
    rng = np.random.default_rng(1)
    h7, h8 = (centre[i] + np.sqrt(v0) * rng.standard_normal((400_000, 2)) for i in (0, 2))
    near = np.exp(-0.5 * (((h7 - here) / width) ** 2).sum(-1))
    assert abs(float(cross[0]) / inner_cross[0] - near.mean()) < 5 * near.std() / np.sqrt(near.size)
    np.testing.assert_allclose(among[0, 1], inner[0, 1], rtol=ALGEBRA)
    pair = np.exp(-0.5 * (((h7 - h8) / width) ** 2).sum(-1))
    assert abs(float(among[0, 2]) / inner[0, 2] - pair.mean()) < 5 * pair.std() / np.sqrt(pair.size)
    assert float(torch.linalg.eigvalsh(among).min()) > 0


def test_noise_is_of_the_task_and_typical_for_a_new_one(process):
    rows = rows_of([(0.3, 0, 0.1), (1.7, 0, 0.1), (7.7, 0, 0.1)])
    noise = process.noise(rows).detach().numpy()
    value = {name: p.detach().numpy() for name, p in process.noise.named_parameters()}
    expected = np.exp(2 * (value["level"][()] + np.append(value["deviation"][:2], 0.0))) + 1e-6
    np.testing.assert_allclose(noise, expected, rtol=ALGEBRA)


def test_posterior_is_that_of_the_dense_formula(process):
    rng = np.random.default_rng(2)
    cells = [(t, d, s) for t in (0.3, 1.7, 2.9) for d in (0, 1) for s in (0.0, 0.5, 1.0)][:-3]
    rows, asked = rows_of(cells), rows_of([(2.9, 1, 0.5), (7.7, 0, 0.3), (0.3, 5, 0.2)])
    y = torch.from_numpy(rng.standard_normal(len(cells)))
    state = solve_exactly(process, Observations(rows, y, torch.ones_like(y)))
    mean, variance = state.marginals(asked)
    with torch.no_grad():
        k, c, s = process.kernel(rows.x), process.kernel(rows.x, asked.x), process.kernel(asked.x)
        k, c, s = (m.numpy() + 1.0 for m in (k, c, s))
        k = k + np.diag(process.noise(rows).numpy())
    solved = np.linalg.solve(k, c)
    np.testing.assert_allclose(mean, 0.4 + solved.T @ (y.numpy() - 0.4), rtol=1e-7)
    np.testing.assert_allclose(variance, np.diag(s - c.T @ solved), rtol=1e-7)


def test_laplace_evidence_is_exact_where_the_posterior_is_normal(process):
    """With all but the level frozen, log posterior is quadratic and the integral is known."""
    for name, parameter in process.named_parameters():
        parameter.requires_grad_(name == "mean.level")
    rng = np.random.default_rng(4)
    rows = rows_of([(t, d, s) for t in (0.3, 1.7) for d in (0, 1) for s in (0.0, 0.6)])
    y = torch.from_numpy(rng.standard_normal(len(rows)))
    data = Observations(rows, y, torch.ones_like(y))
    with torch.no_grad():
        covariance = process.kernel(rows.x) + torch.diag(process.noise(rows))
        solved = torch.linalg.solve(covariance, torch.ones_like(y))
        process.mean.level.copy_((solved @ y + 0.4) / (solved.sum() + 1.0))
        rest = process.log_prior() - process.mean.level_prior.log_prob(process.mean.level)
        marginal = torch.distributions.MultivariateNormal(0.4 * torch.ones_like(y), covariance + 1.0)
        expected = float(marginal.log_prob(y) + rest)
    assert laplace_evidence(process, data) == pytest.approx(expected, rel=1e-6)
