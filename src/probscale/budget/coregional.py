"""Forecasts from a linear model of coregionalisation over runs: each run an output of one joint process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probscale.budget.bench import Array, Bench
from probscale.budget.forecast import thinned
from probscale.errors import FitError

JITTER = 1e-6
"""Jitter of covariances, relative to their mean diagonal."""


@dataclass(frozen=True)
class CoregionalForecaster:
    """Curves as mixtures of latent functions of the logarithm of the axis, the same for all runs.

    Covariance of run i at t and run j at t': Σ_q (w_iq w_jq + 1(i=j) κ_q) k_q(log t, log t') with Matérn-3/2
    k_q; hyperparameters maximise the posterior under normal priors. Configurations play no part.

    Attributes:
        latent: Latent functions.
        points: Most points of a run.
        iterations: L-BFGS iterations.

    Source: Álvarez, Rosasco and Lawrence 2012, section 4.2 (LMC).
    """

    latent: int = 2
    points: int = 6
    iterations: int = 30

    def sample(self, bench: Bench, runs: Sequence[int], compute: Array, n: int, seed: int) -> Array:
        """Draws; see `Forecaster.sample`."""
        rows = [
            (run, math.log(at), y)
            for run in range(len(bench.configs))
            for at, y in thinned([p for p in bench.points(run) if np.isfinite(p[1])], self.points)
        ]
        if len(rows) < 3:
            raise FitError(f"{len(rows)} points are too few for a forecast; 3 are needed", points=len(rows))
        table = torch.tensor(rows, dtype=torch.float64)
        which, x, y = table[:, 0].long(), table[:, 1], table[:, 2]
        centre, scale = y.mean(), y.std() + 1e-12
        asked = torch.tensor(list(runs)), torch.from_numpy(np.log(bench.axis_at(runs, compute)))
        try:
            parameters = self._fitted(which, x, (y - centre) / scale, len(bench.configs), seed)
            mean, covariance = _posterior(parameters, (which, x), (y - centre) / scale, asked)
            root = torch.linalg.cholesky(covariance + JITTER * torch.eye(len(runs), dtype=torch.float64))
        except RuntimeError as error:
            raise FitError(f"the covariance between runs could not be factored: {error}") from error
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(len(runs), n, generator=generator, dtype=torch.float64)
            return (centre + scale * (mean[:, None] + root @ noise)).T.numpy()

    def _fitted(self, which: Tensor, x: Tensor, y: Tensor, runs: int, seed: int) -> list[Tensor]:
        """Mixing weights (runs, latent), and logarithms of κ, lengthscales and noise."""
        generator = torch.Generator().manual_seed(seed)
        weights = 0.7 + 0.3 * torch.randn(runs, self.latent, generator=generator, dtype=torch.float64)
        start = [
            weights,
            *_vectors(self.latent, (math.log(0.1), 0.0)),
            torch.tensor([math.log(0.05)]).double(),
        ]
        prior = [start[0].clone() * 0 + 0.7, *(item.clone() for item in start[1:])]
        parameters = [item.requires_grad_() for item in start]
        optimiser = torch.optim.LBFGS(parameters, max_iter=self.iterations, line_search_fn="strong_wolfe")

        def objective() -> Tensor:
            optimiser.zero_grad()
            root = torch.linalg.cholesky(_covariance(parameters, (which, x), (which, x), noisy=True))
            white = torch.linalg.solve_triangular(root, y[:, None], upper=False)
            loss = 0.5 * (white**2).sum() + root.diagonal().log().sum()
            for value, expected in zip(parameters, prior, strict=True):
                loss = loss + 0.5 * ((value - expected) ** 2).sum()
            loss.backward()
            return loss

        optimiser.step(objective)
        return [item.detach() for item in parameters]


def _vectors(length: int, values: Sequence[float]) -> list[Tensor]:
    return [torch.full((length,), value, dtype=torch.float64) for value in values]


def _covariance(
    parameters: Sequence[Tensor], a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], *, noisy: bool = False
) -> Tensor:
    weights, kappa, lengths, noise = parameters
    same = (a[0][:, None] == b[0][None, :]).double()
    total = torch.zeros(len(a[0]), len(b[0]), dtype=torch.float64)
    for q in range(weights.shape[1]):
        distance = math.sqrt(3) * (a[1][:, None] - b[1][None, :]).abs() / (2.0 * lengths[q].exp() * (q + 1))
        mixing = weights[a[0], q][:, None] * weights[b[0], q][None, :] + same * kappa[q].exp()
        total = total + mixing * (1 + distance) * torch.exp(-distance)
    if noisy:
        total = total + (noise.exp() ** 2 + JITTER) * torch.eye(len(a[0]), dtype=torch.float64)
    return total


def _posterior(
    parameters: Sequence[Tensor], data: tuple[Tensor, Tensor], y: Tensor, asked: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    root = torch.linalg.cholesky(_covariance(parameters, data, data, noisy=True))
    cross = torch.linalg.solve_triangular(root, _covariance(parameters, data, asked), upper=False)
    white = torch.linalg.solve_triangular(root, y[:, None], upper=False)
    return (cross.T @ white)[:, 0], _covariance(parameters, asked, asked) - cross.T @ cross
