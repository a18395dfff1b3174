"""Posterior of curves on a shared grid: marginals, joint draws, leave-out checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probscale.model.gp import cholesky
from probscale.model.grid import (
    DenseSystem,
    EigenSystem,
    GridData,
    GridProcess,
    RunsSay,
    dense_system,
    eigen_system,
    runs_say,
)

Array = NDArray[np.float64]

CHUNK = 64
"""Configurations, or draws, handled at a time."""


@dataclass(frozen=True)
class GridQuery:
    """Asked curves.

    Attributes:
        x: Configurations, (asked, columns).
        axis: Standardised axis coordinates, (asked, points).
        member: Position of the run that is continued, −1 for new runs, (asked,).
    """

    x: Tensor
    axis: Tensor
    member: Tensor

    def take(self, index: Tensor | slice) -> GridQuery:
        """Some of the asked curves."""
        return GridQuery(self.x[index], self.axis[index], self.member[index])


@dataclass(frozen=True)
class GridState:
    """Posterior of a grid process given observed cells.

    Attributes:
        process: Kernels with fitted parameters.
        data: What was observed.
        says: What runs say about their scores.
        system: Solver across runs.
        solved: Scores are expected at K_config times this, (runs, features).
    """

    process: GridProcess
    data: GridData
    says: RunsSay
    system: DenseSystem | EigenSystem
    solved: Tensor

    @torch.no_grad()
    def marginals(self, query: GridQuery) -> tuple[Tensor, Tensor]:
        """Latent mean and variance of each asked point, (asked, points) each.

        Cost: O((runs × features)² × asked × features), for a complete grid O(runs² × asked).
        """
        parts = [self._marginals(query.take(slice(s, s + CHUNK))) for s in range(0, len(query.x), CHUNK)]
        return torch.cat([mean for mean, _ in parts]), torch.cat([variance for _, variance in parts])

    def _marginals(self, query: GridQuery) -> tuple[Tensor, Tensor]:
        cross = self.process.between(query.x, self.data.x)
        expected = cross @ self.solved
        half = self.system.halves(cross)
        count = half.shape[-1]
        covariance = self.process.prior_between(query.x)[:, None, None] * torch.eye(
            count, dtype=half.dtype, device=half.device
        ) - torch.einsum("kap,kaq->apq", half, half)
        features, carry, own = self._along(query)
        mean = self.process.centre + (features @ expected[..., None])[..., 0]
        mean = mean + torch.einsum("apg,ag->ap", carry, self._surprise(query.member, expected))
        loading = self._loading(query.member, features, carry)
        variance = torch.einsum("apq,aqr,apr->ap", loading, covariance, loading)
        variance = variance + own.diagonal(dim1=-2, dim2=-1)
        return mean, variance.clamp_min(0.0)

    def _along(self, query: GridQuery) -> tuple[Tensor, Tensor, Tensor]:
        """Features, regression of run deviations on a run's residuals, and what that leaves of them."""
        features = self.process.features(query.axis)
        own = self.process.own(query.axis, query.axis)
        known = (query.member >= 0).to(own.dtype)[:, None, None]
        where = query.member.clamp_min(0)
        seen = self.data.seen[where].to(own.dtype)
        grid = self.data.axis.expand(len(where), -1)
        cross = self.process.own(query.axis, grid) * seen[:, None, :]
        half = torch.linalg.solve_triangular(self.says.factor[where], cross.mT, upper=False)
        carry = torch.linalg.solve_triangular(self.says.factor[where].mT, half, upper=True).mT
        return features, known * carry, own - known * (half.mT @ half)

    def _surprise(self, member: Tensor, expected: Tensor) -> Tensor:
        """Residuals of continued runs from their expected curves, zero where unseen, (asked, grid)."""
        where = member.clamp_min(0)
        fitted = self.process.centre + expected @ self.process.features(self.data.axis).mT
        return torch.where(self.data.seen[where], self.data.y[where] - fitted, torch.zeros_like(fitted))

    def _loading(self, member: Tensor, features: Tensor, carry: Tensor) -> Tensor:
        """How scores enter asked points once what a run has shown is accounted for."""
        seen = self.data.seen[member.clamp_min(0)].to(carry.dtype)
        return features - (carry * seen[:, None, :]) @ self.process.features(self.data.axis)

    @torch.no_grad()
    def covariance(self, query: GridQuery) -> Tensor:
        """Joint latent covariance, (asked × points)², the points of a curve next to each other.

        Cost: O((runs × features)² × asked × features + (asked × points)²).
        """
        cross = self.process.between(query.x, self.data.x)
        features, carry, _ = self._along(query)
        loading = self._loading(query.member, features, carry)
        half = torch.einsum("kaq,apq->kap", self.system.halves(cross), loading).flatten(1)
        prior = self.process.between(query.x, query.x)
        flat = loading.flatten(0, 1)
        points = query.axis.shape[1]
        total = prior.repeat_interleave(points, 0).repeat_interleave(points, 1) * (flat @ flat.mT)
        return total - half.mT @ half + self._own_between(query, carry)

    def _own_between(self, query: GridQuery, carry: Tensor) -> Tensor:
        """Covariance of run deviations given the runs' own points; zero between different runs."""
        axis = query.axis.flatten()
        points = query.axis.shape[1]
        fresh = torch.arange(len(query.member), device=axis.device)
        run = torch.where(query.member >= 0, query.member, -1 - fresh).repeat_interleave(points)
        same = (run[:, None] == run[None]).to(axis.dtype)
        seen = self.data.seen[query.member.clamp_min(0)].to(axis.dtype).repeat_interleave(points, 0)
        known = carry.flatten(0, 1) * seen
        return same * (self.process.own(axis, axis) - known @ self.process.own(self.data.axis, axis))

    @torch.no_grad()
    def draw(self, query: GridQuery, generator: np.random.Generator, n: int) -> Array:
        """Joint latent deviations from the posterior mean, (n, asked, points).

        Cost: O((runs + asked)³ + n × runs × (runs × features + grid²)).

        Source: Matheron's rule, Wilson et al. 2021, eq. 8.
        """
        known = query.member[query.member >= 0]
        if len(torch.unique(known)) < len(known):
            factor, _ = cholesky(_floored(self.covariance(query)))
            white = torch.from_numpy(generator.standard_normal((n, len(factor)))).to(factor.device)
            return (white @ factor.mT).reshape(n, *query.axis.shape).cpu().numpy()
        runs = len(self.data)
        new = torch.nonzero(query.member < 0)[:, 0]
        x = torch.cat([self.data.x, query.x[new]])
        place = query.member.clone()
        place[new] = runs + torch.arange(len(new), device=place.device)
        factor, _ = cholesky(_floored(self.process.between(x, x)))
        cross = self.process.between(x[place], self.data.x)
        along = self._along(query)
        root = _batched_root(along[2])
        parts = [
            self._deviations(query, place, factor, cross, (*along[:2], root), generator, min(CHUNK, n - s))
            for s in range(0, n, CHUNK)
        ]
        return torch.cat(parts).cpu().numpy()

    def _deviations(
        self,
        query: GridQuery,
        place: Tensor,
        factor: Tensor,
        cross: Tensor,
        along: tuple[Tensor, Tensor, Tensor],
        generator: np.random.Generator,
        n: int,
    ) -> Tensor:
        features, carry, root = along
        runs = len(self.data)

        def white(*shape: int) -> Tensor:
            return torch.from_numpy(generator.standard_normal((n, *shape))).to(factor.device)

        scores = factor @ white(len(factor), features.shape[-1])
        noise = (self.says.factor @ white(runs, len(self.data.axis), 1))[..., 0] * self.data.seen
        own = (root @ white(*query.axis.shape, 1))[..., 0]
        whitened = torch.linalg.solve_triangular(self.says.factor, noise[..., None], upper=False)
        moment = (self.says.features.mT @ whitened)[..., 0]
        moment = moment + torch.einsum("ipq,ipr,nir->niq", self.says.root, self.says.root, scores[:, :runs])
        expected = cross @ self.system.solve(moment)
        loading = self._loading(query.member, features, carry)
        return torch.einsum("apq,naq->nap", loading, scores[:, place] - expected) + own

    def noise(self, query: GridQuery) -> Tensor:
        """Noise variance of each asked point, (asked, points)."""
        with torch.no_grad():
            return self.process.noise(query.axis)


def _floored(covariance: Tensor) -> Tensor:
    """A covariance with rounding noise kept off its diagonal."""
    tiny = 1e-12 + 1e-9 * float(covariance.diagonal().mean())
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return 0.5 * (covariance + covariance.mT) + tiny * identity


def _batched_root(covariances: Tensor) -> Tensor:
    """Square roots of covariances that may be singular, (…, points, points)."""
    values, vectors = torch.linalg.eigh(0.5 * (covariances + covariances.mT))
    return vectors * values.clamp_min(0.0).sqrt()[..., None, :]


@torch.no_grad()
def solve_grid(process: GridProcess, data: GridData) -> GridState:
    """Condition a grid process on observed cells.

    Cost: O((runs × features)³) with missing cells, O(runs³) on a complete grid.
    """
    says = runs_say(process, data)
    between = process.between(data.x, data.x)
    system = eigen_system(between, says) if data.complete else dense_system(between, says)
    return GridState(process, data, says, system, system.solve(says.moment))
