"""Forecasts from a linear model of coregionalisation over runs: each run an output of one joint process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from probscale.budget.bench import Array, Bench
from probscale.budget.forecast import thinned
from probscale.errors import FitError

JITTER = 1e-6
"""Jitter of covariances, relative to their mean diagonal."""

LENGTHSCALE = 2.0
"""Prior median of the first lengthscale, e-folds of the axis; that of the q-th is q times as long."""

MIXING, MIXING_START_STD = 0.7, 0.3
"""Prior mean of mixing weights: runs resemble each other; starts differ, or functions would be equal."""

OWN = 0.1
"""Prior median of κ, the variance of a run of its own, in that of all outputs."""

NOISE = 0.05
"""Prior median of the standard deviation of noise, in that of all outputs."""

PRIOR_STD = 1.0
"""Prior standard deviation of mixing weights and of the logarithms of all else."""


@dataclass(frozen=True)
class Places:
    """Points on curves.

    Attributes:
        run: Row of the run, (points,).
        x: Logarithm of the axis value, (points,).
    """

    run: Tensor
    x: Tensor


@dataclass(frozen=True)
class Parameters:
    """Of the process; outputs are standardised.

    Attributes:
        mixing: w, (runs, latent).
        own: Logarithms of κ, (latent,).
        stretch: Logarithms of the lengthscales in units of their prior medians, (latent,).
        noise: Logarithm of the standard deviation of noise, (1,).
    """

    mixing: Tensor
    own: Tensor
    stretch: Tensor
    noise: Tensor

    def each(self) -> list[Tensor]:
        """All of them."""
        return [getattr(self, item.name) for item in fields(self)]


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
        seen, y = Places(table[:, 0].long(), table[:, 1]), table[:, 2]
        centre, scale = y.mean(), y.std() + 1e-12
        asked = Places(torch.tensor(list(runs)), torch.from_numpy(np.log(bench.axis_at(runs, compute))))
        try:
            parameters = self._fitted(seen, (y - centre) / scale, len(bench.configs), seed)
            mean, covariance = _posterior(parameters, seen, (y - centre) / scale, asked)
            root = torch.linalg.cholesky(covariance + JITTER * torch.eye(len(runs), dtype=torch.float64))
        except RuntimeError as error:
            raise FitError(f"the covariance between runs could not be factored: {error}") from error
        with torch.no_grad():
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(len(runs), n, generator=generator, dtype=torch.float64)
            return (centre + scale * (mean[:, None] + root @ noise)).T.numpy()

    def _fitted(self, seen: Places, y: Tensor, runs: int, seed: int) -> Parameters:
        """Parameters of the largest posterior density."""
        generator = torch.Generator().manual_seed(seed)
        start = torch.randn(runs, self.latent, generator=generator, dtype=torch.float64)
        flat = torch.ones(self.latent, dtype=torch.float64)
        prior = Parameters(
            torch.full_like(start, MIXING),
            flat * math.log(OWN),
            flat * 0.0,
            torch.tensor([math.log(NOISE)], dtype=torch.float64),
        )
        found = Parameters(MIXING + MIXING_START_STD * start, *(item.clone() for item in prior.each()[1:]))
        leaves = [item.requires_grad_() for item in found.each()]
        optimiser = torch.optim.LBFGS(leaves, max_iter=self.iterations, line_search_fn="strong_wolfe")

        def objective() -> Tensor:
            optimiser.zero_grad()
            root = torch.linalg.cholesky(_noisy(found, seen))
            white = torch.linalg.solve_triangular(root, y[:, None], upper=False)
            loss = 0.5 * (white**2).sum() + root.diagonal().log().sum()
            for value, expected in zip(leaves, prior.each(), strict=True):
                loss = loss + 0.5 * (((value - expected) / PRIOR_STD) ** 2).sum()
            loss.backward()
            return loss

        optimiser.step(objective)
        return Parameters(*(item.detach() for item in leaves))


def _covariance(parameters: Parameters, a: Places, b: Places) -> Tensor:
    """Covariance of curves, (points of a, points of b)."""
    same = (a.run[:, None] == b.run[None, :]).double()
    total = torch.zeros(len(a.run), len(b.run), dtype=torch.float64)
    for q in range(parameters.mixing.shape[1]):
        length = LENGTHSCALE * parameters.stretch[q].exp() * (q + 1)
        distance = math.sqrt(3) * (a.x[:, None] - b.x[None, :]).abs() / length
        weights = (parameters.mixing[part.run, q] for part in (a, b))
        mixing = torch.outer(*weights) + same * parameters.own[q].exp()
        total = total + mixing * (1 + distance) * torch.exp(-distance)
    return total


def _noisy(parameters: Parameters, seen: Places) -> Tensor:
    """Covariance of measurements, (points, points)."""
    noise = (parameters.noise.exp() ** 2 + JITTER) * torch.eye(len(seen.run), dtype=torch.float64)
    return _covariance(parameters, seen, seen) + noise


def _posterior(parameters: Parameters, seen: Places, y: Tensor, asked: Places) -> tuple[Tensor, Tensor]:
    """Mean, (asked,), and covariance, (asked, asked), of curves given measurements."""
    root = torch.linalg.cholesky(_noisy(parameters, seen))
    cross = torch.linalg.solve_triangular(root, _covariance(parameters, seen, asked), upper=False)
    white = torch.linalg.solve_triangular(root, y[:, None], upper=False)
    return (cross.T @ white)[:, 0], _covariance(parameters, asked, asked) - cross.T @ cross
