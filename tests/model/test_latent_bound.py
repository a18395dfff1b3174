"""The variational bound against the evidence, sampling, and the bound with q(U) written out."""

import math

import numpy as np
import pytest
import torch

from probscale.model.gp import Observations
from probscale.model.latent import LatentColumns, LatentProcess, LatentTasks, LevelMean, expected_correlation
from probscale.model.latent_bound import LatentBound, expected_product
from probscale.model.layout import LabelBlock, Layout
from probscale.model.means import Rows

LAYOUT = Layout(("step",), axis=(0,), labels=(LabelBlock("task", 1, (), True), LabelBlock("d", 2)), run=3)
COLUMNS = LatentColumns(task=1, members=(2,), inputs=(0,), described=())
CODES = torch.tensor([0.0, 1.0, 2.0]).double()


@pytest.fixture
def process():
    generator = torch.Generator().manual_seed(0)
    tasks = LatentTasks(COLUMNS, CODES, torch.randn(3, 2, generator=generator).double())
    built = LatentProcess(LAYOUT, tasks, LevelMean(level=0.1, spread=1.0), scale=0.8, noise=0.3)
    return built.requires_grad_(False)


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    cells = [(s, t, d, 10 * t + d) for t in range(3) for d in range(2) for s in (-1.0, 0.1, 0.8)][:-2]
    x = torch.tensor(cells).double()
    y = torch.from_numpy(rng.standard_normal(len(x)))
    return Observations(Rows(x, x[:, 0].clone(), x[:, 0].clone()), y, torch.ones_like(y))


def everywhere(process, data, spread=1e-9):
    """Inducing points at all data and all tasks."""
    rows = torch.unique(data.rows.x[:, [0, 2]], dim=0)
    inducing = torch.zeros(len(rows), 4).double()
    inducing[:, 0], inducing[:, 2] = rows[:, 0], rows[:, 1]
    places = process.tasks.positions(torch.stack([torch.zeros(3), CODES, *torch.zeros(2, 3)], 1).double())[0]
    return LatentBound(process, inducing, places, spread=spread).requires_grad_(False)


def test_psi_statistics_are_means_over_positions():
    rng = np.random.default_rng(0)
    mean, variance = torch.tensor([0.4, -0.2]).double(), torch.tensor([0.3, 0.8]).double()
    places, width = torch.from_numpy(rng.standard_normal((3, 2))), torch.tensor([0.7, 1.3]).double()
    h = mean.numpy() + np.sqrt(variance.numpy()) * rng.standard_normal((300_000, 2))
    k = np.exp(-0.5 * (((h[:, None] - places.numpy()) / width.numpy()) ** 2).sum(-1))
    first = expected_correlation(mean[None], variance[None], places, torch.zeros(3, 2).double(), width)[0]
    second = expected_product(mean, variance, places, width)
    error = 5 / math.sqrt(len(h))
    np.testing.assert_allclose(first, k.mean(axis=0), atol=error * k.std())
    np.testing.assert_allclose(second, k.T @ k / len(h), atol=error * 0.5)


def test_bound_is_the_evidence_at_known_positions_and_inducing_points_everywhere(process, data):
    bound = everywhere(process, data)
    value = float(bound.log_likelihood(data) + bound.divergence())
    assert value == pytest.approx(float(process.log_likelihood(data)), abs=1e-4)


def test_bound_stays_below_the_evidence_with_fewer_inducing_points(process, data):
    full = everywhere(process, data)
    few = LatentBound(process, full.inducing[::2], full.places[:2], spread=1e-9).requires_grad_(False)
    assert float(few.log_likelihood(data) + few.divergence()) < float(process.log_likelihood(data))


def test_bound_stays_below_the_evidence_with_positions_integrated_out(process, data):
    """Importance sampling of positions from q(H) gives the evidence that the bound must not exceed."""
    bound = everywhere(process, data, spread=0.1)
    own = process.tasks.get_parameter("deviation")
    centre, share = own.clone(), torch.exp(bound.log_share)
    generator = torch.Generator().manual_seed(0)
    logs = []
    for _ in range(400):
        noise = torch.randn(centre.shape, generator=generator).double()
        own.copy_(centre + share.sqrt() * noise)
        weight = -0.5 * own.square() + 0.5 * noise.square() + 0.5 * share.log()
        logs.append(float(process.log_likelihood(data) + weight.sum()))
    own.copy_(centre)
    evidence = float(torch.logsumexp(torch.tensor(logs), 0)) - math.log(len(logs))
    assert float(bound.log_likelihood(data).detach()) < evidence


def test_collapsed_bound_is_the_one_with_its_best_q_of_u(process, data):
    """The uncollapsed bound, its terms written out with Kronecker products, at the optimal q(U)."""
    bound = everywhere(process, data, spread=0.2)
    kernel, tasks, width = process.kernel, process.tasks, process.tasks.lengthscale
    places, none = bound.places.detach(), torch.zeros(3, 2).double()
    k_c = kernel.inner(bound.inducing, bound.inducing)
    k_r = expected_correlation(places, none, places, none, width)
    k_c, k_r = (k + 1e-8 * k.diagonal().mean() * torch.eye(len(k)) for k in (k_c, k_r))
    prior = torch.kron(k_r, k_c)
    inverse = torch.linalg.inv(prior)
    precision, moment, parts = inverse.clone(), torch.zeros(len(prior)).double(), []
    for number, code in enumerate(CODES):
        part = data.take(torch.nonzero(data.rows.x[:, 1] == code)[:, 0])
        noise = process.noise(part.rows)[0]
        mean, s = tasks.positions(part.rows.x[:1])[0], bound.variances[number].detach()
        psi1 = expected_correlation(places, none, mean, s[None], width)[:, 0]
        psi2 = expected_product(mean[0], s, places, width)
        cross = kernel.inner(bound.inducing, part.rows.x)
        phi = cross @ cross.mT
        y = part.y - process.mean(part.rows)
        inner = inverse @ torch.kron(psi2, phi) @ inverse
        linear = inverse @ torch.kron(psi1, cross @ y)
        precision, moment = precision + inner / noise, moment + linear / noise
        rest = len(y) * kernel.variance() - torch.trace(torch.linalg.solve(k_c, phi)) * torch.trace(
            torch.linalg.solve(k_r, psi2)
        )
        parts.append((inner, linear, noise, y, rest))
    covariance = torch.linalg.inv(precision)
    m = covariance @ moment
    total = -bound.divergence().detach()
    for inner, linear, noise, y, rest in parts:
        squares = y @ y - 2 * linear @ m + m @ inner @ m + torch.trace(inner @ covariance) + rest
        total = total - 0.5 * len(y) * torch.log(2 * math.pi * noise) - 0.5 * squares / noise
    kl = torch.logdet(prior) - torch.logdet(covariance) + m @ inverse @ m
    total = total - 0.5 * (kl + torch.trace(inverse @ covariance) - len(m))
    assert float(bound.log_likelihood(data).detach()) == pytest.approx(float(total), abs=1e-3)
