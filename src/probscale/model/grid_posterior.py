"""Posterior of curves on a shared grid: marginals, joint draws, leave-out checks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probscale.errors import NotPositiveDefiniteError
from probscale.model.devices import copied_to
from probscale.model.gp import cholesky, symmetric, symmetrised
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

ROUNDING = 1e-9
"""Share of the mean diagonal that covers the rounding of covariances by way of scores."""


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

    def to(self, device: torch.device) -> GridQuery:
        """The same question on a device."""
        return GridQuery(self.x.to(device), self.axis.to(device), self.member.to(device))


@dataclass(frozen=True)
class GridState:
    """Posterior of a grid process given observed cells.

    Process, data, questions and answers are with the CPU; the algebra may be on another device.

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

    @property
    def device(self) -> torch.device:
        """Where the algebra runs."""
        return self.solved.device

    @cached_property
    def _process(self) -> GridProcess:
        return copied_to(self.process, self.device)

    @cached_property
    def _data(self) -> GridData:
        return self.data.to(self.device)

    @torch.no_grad()
    def marginals(self, query: GridQuery) -> tuple[Tensor, Tensor]:
        """Latent mean and variance of each asked point, (asked, points) each.

        Cost: O((runs × features)² × asked × features), for a complete grid O(runs² × asked).
        """
        query = query.to(self.device)
        parts = [self._marginals(query.take(slice(s, s + CHUNK))) for s in range(0, len(query.x), CHUNK)]
        mean, variance = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
        return mean, variance

    def _marginals(self, query: GridQuery) -> tuple[Tensor, Tensor]:
        cross = self._process.between(query.x, self._data.x)
        expected = cross @ self.solved
        half = self.system.halves(cross)
        count = half.shape[-1]
        covariance = self._process.prior_between(query.x)[:, None, None] * torch.eye(
            count, dtype=half.dtype, device=half.device
        ) - torch.einsum("kap,kaq->apq", half, half)
        features, carry, own = self._along(query)
        mean = self._process.centre + (features @ expected[..., None])[..., 0]
        mean = mean + torch.einsum("apg,ag->ap", carry, self._surprise(query.member, expected))
        loading = self._loading(query.member, features, carry)
        variance = torch.einsum("apq,aqr,apr->ap", loading, covariance, loading)
        variance = variance + own.diagonal(dim1=-2, dim2=-1)
        return mean, variance.clamp_min(0.0)

    def _along(self, query: GridQuery) -> tuple[Tensor, Tensor, Tensor]:
        """Features, regression of run deviations on a run's residuals, and what that leaves of them."""
        features = self._process.features(query.axis)
        own = self._process.own(query.axis, query.axis)
        known = (query.member >= 0).to(own.dtype)[:, None, None]
        where = query.member.clamp_min(0)
        seen = self._data.seen[where].to(own.dtype)
        grid = self._data.axis.expand(len(where), -1)
        cross = self._process.own(query.axis, grid)
        if self._data.strays is not None:
            own = own + known * self._data.straying(where, query.axis, query.axis)
            cross = cross + known * self._data.straying(where, query.axis, grid)
        cross = cross * seen[:, None, :]
        half = torch.linalg.solve_triangular(self.says.factor[where], cross.mT, upper=False)
        carry = torch.linalg.solve_triangular(self.says.factor[where].mT, half, upper=True).mT
        return features, known * carry, own - known * (half.mT @ half)

    def _surprise(self, member: Tensor, expected: Tensor) -> Tensor:
        """Residuals of continued runs from their expected curves, zero where unseen, (asked, grid)."""
        where = member.clamp_min(0)
        fitted = self._process.centre + expected @ self._process.features(self._data.axis).mT
        return torch.where(self._data.seen[where], self._data.y[where] - fitted, torch.zeros_like(fitted))

    def _loading(self, member: Tensor, features: Tensor, carry: Tensor) -> Tensor:
        """How scores enter asked points once what a run has shown is accounted for."""
        seen = self._data.seen[member.clamp_min(0)].to(carry.dtype)
        return features - (carry * seen[:, None, :]) @ self._process.features(self._data.axis)

    @torch.no_grad()
    def covariance(self, query: GridQuery) -> Tensor:
        """Joint latent covariance, (asked × points)², the points of a curve next to each other.

        Cost: O((runs × features)² × asked × features + (asked × points)²).
        """
        query = query.to(self.device)
        cross = self._process.between(query.x, self._data.x)
        features, carry, _ = self._along(query)
        loading = self._loading(query.member, features, carry)
        half = torch.einsum("kaq,apq->kap", self.system.halves(cross), loading).flatten(1)
        prior = self._process.between(query.x, query.x)
        flat = loading.flatten(0, 1)
        points = query.axis.shape[1]
        total = prior.repeat_interleave(points, 0).repeat_interleave(points, 1) * (flat @ flat.mT)
        return (total - half.mT @ half + self._own_between(query, carry)).cpu()

    def _own_between(self, query: GridQuery, carry: Tensor) -> Tensor:
        """Covariance of run deviations given the runs' own points; zero between different runs."""
        axis = query.axis.flatten()
        points = query.axis.shape[1]
        fresh = torch.arange(len(query.member), device=axis.device)
        run = torch.where(query.member >= 0, query.member, -1 - fresh).repeat_interleave(points)
        same = (run[:, None] == run[None]).to(axis.dtype)
        seen = self._data.seen[query.member.clamp_min(0)].to(axis.dtype).repeat_interleave(points, 0)
        known = carry.flatten(0, 1) * seen
        apart = self._process.own(axis, axis) - known @ self._process.own(self._data.axis, axis)
        if self._data.strays is not None:
            where, grid = query.member.clamp_min(0).repeat_interleave(points), self._data.axis
            told = known[:, None] @ self._data.straying(where, grid, axis)
            extra = (self._data.straying(where, axis[:, None], axis) - told)[:, 0]
            apart = apart + (query.member >= 0).repeat_interleave(points)[:, None] * extra
        return same * apart

    @torch.no_grad()
    def draw(self, query: GridQuery, generator: np.random.Generator, n: int) -> Array:
        """Joint latent deviations from the posterior mean, (n, asked, points).

        Cost: O((runs + asked)³ + n × runs × (runs × features + grid²)).

        Source: Matheron's rule, Wilson et al. 2021, eq. 8.
        """
        known = query.member[query.member >= 0]
        if len(torch.unique(known)) < len(known):
            factor, _ = cholesky(symmetrised(self.covariance(query), ROUNDING))
            white = torch.from_numpy(generator.standard_normal((n, len(factor))))
            return (white @ factor.mT).reshape(n, *query.axis.shape).numpy()
        query = query.to(self.device)
        runs = len(self._data)
        new = torch.nonzero(query.member < 0)[:, 0]
        x = torch.cat([self._data.x, query.x[new]])
        place = query.member.clone()
        place[new] = runs + torch.arange(len(new), device=place.device)
        factor, _ = cholesky(symmetrised(self._process.between(x, x), ROUNDING))
        cross = self._process.between(x[place], self._data.x)
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
        runs = len(self._data)

        def white(*shape: int) -> Tensor:
            return torch.from_numpy(generator.standard_normal((n, *shape))).to(factor.device)

        scores = factor @ white(len(factor), features.shape[-1])
        noise = (self.says.factor @ white(runs, len(self._data.axis), 1))[..., 0] * self._data.seen
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


def _batched_root(covariances: Tensor) -> Tensor:
    """Square roots of covariances that may be singular, (…, points, points)."""
    values, vectors = torch.linalg.eigh(symmetric(covariances))
    return vectors * values.clamp_min(0.0).sqrt()[..., None, :]


@torch.no_grad()
def solve_grid(process: GridProcess, data: GridData, device: torch.device | None = None) -> GridState:
    """Condition a grid process on observed cells.

    Args:
        process: With its parameters on the CPU.
        data: Cells on the CPU.
        device: Where the algebra runs; by default the CPU.

    Raises:
        NotPositiveDefiniteError: if a covariance of the runs cannot be factored.

    Cost: O((runs × features)³) with missing cells, O(runs³) on a complete grid.
    """
    device = device or torch.device("cpu")
    local, here = copied_to(process, device), data.to(device)
    try:
        says = runs_say(local, here)
        between = local.between(here.x, here.x)
        system = eigen_system(between, says) if data.complete else dense_system(between, says)
    except torch.linalg.LinAlgError as error:  # pyright: ignore[reportPrivateImportUsage]
        raise NotPositiveDefiniteError(
            f"the covariance of {len(data)} runs on a grid of {len(data.axis)} points could not be factored "
            'with the parameters of the fit; pass model="exact" or model="functional" to fit_surrogate',
            runs=len(data),
        ) from error
    return GridState(process, data, says, system, system.solve(says.moment))
