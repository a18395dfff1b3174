"""Exact inference: one Cholesky factor gives every prediction, update and leave-one-out score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probscale.model.devices import copied_to
from probscale.model.gp import CurveProcess, Observations, cholesky, symmetrised
from probscale.model.means import Rows
from probscale.model.triangle import Triangle

CHUNK = 2_000
"""Rows whose covariance with the observations is held at a time, at most."""

IN_CACHE = 500_000
"""Numbers of a covariance with the observations that processors pass over fastest: 4 MB stay in their caches.
With 2,000 rows of 3,000 observations at a time, forecasts took twice as long."""

LANDMARKS = 3_000
"""Rows up to which draws come from one dense factor."""

ROUNDING = 1e-10
"""Share of the mean diagonal that covers the rounding of a dense posterior covariance."""


@dataclass(frozen=True)
class Look:
    """What a posterior says of some rows, and what else it takes to observe them.

    Attributes:
        mean: Latent mean, (rows,).
        variance: Latent variance, (rows,).
        prior: The same before observations, (rows,).
        slopes: Standard deviations along the mean's parameters, (rows, parameters).
        left: Whitened covariance with the observations, (observations, rows).
    """

    mean: Tensor
    variance: Tensor
    prior: Tensor
    slopes: Tensor
    left: Tensor


@dataclass(frozen=True)
class ExactState:
    """Posterior of a curve process given observations.

    Process, data, questions and answers are with the CPU; the factor, and with it the algebra, may be on
    another device.

    Attributes:
        process: Mean, kernel and noise with fitted parameters.
        data: What was observed.
        factor: Lower Cholesky factor of the covariance of the observations, uncertain mean included.
        solved: That covariance solved against the residuals.
        slopes: Standard deviations along the mean's parameters at the observations, (rows, parameters).
        jitter: Relative jitter the factorisation took.
        pieces: How many observations each extension brought, in order; what came before was solved at once.
    """

    process: CurveProcess
    data: Observations
    factor: Triangle
    solved: Tensor
    slopes: Tensor
    jitter: float
    pieces: tuple[int, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the algebra runs."""
        return self.factor.device

    @cached_property
    def _process(self) -> CurveProcess:
        return copied_to(self.process, self.device)

    @cached_property
    def _data(self) -> Observations:
        return self.data.to(self.device)

    def on(self, device: torch.device) -> ExactState:
        """The same posterior with its algebra on another device."""
        parts = (self.factor.to(device), self.solved.to(device), self.slopes.to(device))
        return ExactState(self.process, self.data, *parts, self.jitter, self.pieces)

    @torch.no_grad()
    def look(self, rows: Rows) -> Look:
        """What is said of rows, and what else it takes to observe them.

        Cost: O(observations² × rows) time, O(observations × rows) memory.
        """
        here = rows.to(self.device)
        mean, cross, slopes = self._against(here)
        left = self.factor.forward(cross)
        prior = self._process.kernel(here.x, diag=True) + slopes.square().sum(-1)
        return Look(mean, (prior - left.square().sum(0)).clamp_min(0.0), prior, slopes, left)

    @torch.no_grad()
    def extend(self, more: Observations, look: Look | None = None) -> ExactState:
        """Posterior after more observations, parameters unchanged.

        Args:
            more: What was observed.
            look: What `look` says of its rows, where that is known.

        Cost: O(rows² × new rows): the factor is continued, neither recomputed nor copied.
        """
        process, here = self._process, more.to(self.device)
        look = self.look(more.rows) if look is None else look
        corner = look.prior[:, None]
        if len(more) > 1:
            corner = process.kernel(here.rows.x) + look.slopes @ look.slopes.mT
        corner = corner + torch.diag(process.noise(here.rows) / here.weight)
        block, jitter = cholesky(corner - look.left.mT @ look.left)
        data = Observations(
            self.data.rows.cat(more.rows),
            torch.cat([self.data.y, more.y]),
            torch.cat([self.data.weight, more.weight]),
        )
        news = torch.cholesky_solve((here.y - look.mean)[:, None], block)
        solved = torch.cat([self.solved[:, None] - self.factor.backward(look.left @ news), news])[:, 0]
        return replace(
            self,
            data=data,
            factor=self.factor.grown(look.left.mT, block),
            solved=solved,
            slopes=torch.cat([self.slopes, look.slopes]),
            jitter=max(self.jitter, jitter),
            pieces=(*self.pieces, len(more)),
        )

    @torch.no_grad()
    def before(self) -> ExactState:
        """The posterior before any extension, solved anew from the factor it shares.

        Cost: O(rows²).
        """
        if not self.pieces:
            return self
        count = len(self.data) - sum(self.pieces)
        factor = self.factor.dense()
        white = (factor.mT @ self.solved)[:count]
        first = Triangle.whole(factor[:count, :count])
        return replace(
            self,
            data=self.data.take(slice(count)),
            factor=first,
            solved=first.backward(white[:, None])[:, 0],
            slopes=self.slopes[:count],
            pieces=(),
        )

    @torch.no_grad()
    def marginals(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Latent mean and variance of each row.

        Cost: O(observations² × rows), in blocks of bounded memory.
        """
        means, variances = [], []
        for part in self._parts(rows):
            found = self.look(part)
            means.append(found.mean.cpu())
            variances.append(found.variance.cpu())
        return torch.cat(means), torch.cat(variances)

    @torch.no_grad()
    def means(self, rows: Rows) -> Tensor:
        """Latent mean of each row, (rows,).

        Cost: O(observations × rows), in blocks of bounded memory.
        """
        return torch.cat([self._against(part.to(self.device))[0].cpu() for part in self._parts(rows)])

    def _parts(self, rows: Rows) -> Iterator[Rows]:
        """Rows in lots that are looked at together; one empty lot where there are none."""
        size = CHUNK
        if self.device.type == "cpu":
            size = min(CHUNK, max(IN_CACHE // max(len(self.data), 1), 1))
        for start in range(0, max(len(rows), 1), size):
            yield rows.take(slice(start, start + size))

    @torch.no_grad()
    def covariance(self, rows: Rows, others: Rows) -> Tensor:
        """Joint latent covariance of two sets of rows, (rows, others).

        Cost: O(observations² × (rows + others) + observations × rows × others).
        """
        if others is rows:
            return self.joint(rows, self.look(rows))
        rows, others = rows.to(self.device), others.to(self.device)
        _, cross, slopes = self._against(rows)
        left = self.factor.forward(cross)
        _, cross_others, slopes_others = self._against(others)
        right = self.factor.forward(cross_others)
        prior = self._process.kernel(rows.x, others.x) + slopes @ slopes_others.mT
        return (prior - left.mT @ right).cpu()

    @torch.no_grad()
    def joint(self, rows: Rows, look: Look) -> Tensor:
        """Joint latent covariance of rows of which `look` is known, (rows, rows)."""
        prior = self._process.kernel(rows.to(self.device).x) + look.slopes @ look.slopes.mT
        return (prior - look.left.mT @ look.left).cpu()

    @torch.no_grad()
    def draw(
        self,
        rows: Rows,
        generator: np.random.Generator,
        n: int,
        covariance: Callable[[], Tensor] | None = None,
    ) -> np.ndarray:
        """Joint latent deviations from the posterior mean, (n, rows).

        Beyond `LANDMARKS` rows, rows are drawn jointly given a spread subset of them, and independently
        beyond what the subset explains: marginals stay exact.

        Args:
            rows: Rows.
            generator: Source of chance.
            n: Number of draws.
            covariance: Gives the joint covariance of the rows, where that may be known already.

        Cost: O(rows³) up to `LANDMARKS` rows, then O(rows × LANDMARKS²).
        """
        count = len(rows)
        if count <= LANDMARKS:
            known = self.covariance(rows, rows) if covariance is None else covariance()
            factor, _ = cholesky(symmetrised(known, ROUNDING))
            return generator.standard_normal((n, count)) @ factor.numpy().T
        chosen = torch.from_numpy(np.sort(generator.permutation(count)[:LANDMARKS]))
        landmarks = rows.take(chosen)
        factor, _ = cholesky(symmetrised(self.covariance(landmarks, landmarks), ROUNDING))
        white = generator.standard_normal((n, LANDMARKS))
        out = np.empty((n, count))
        for start in range(0, count, CHUNK):
            part = rows.take(slice(start, start + CHUNK))
            load = torch.linalg.solve_triangular(
                factor, self.covariance(landmarks, part), upper=False
            ).numpy()
            rest = np.sqrt(np.maximum(self.marginals(part)[1].numpy() - (load**2).sum(axis=0), 0.0))
            out[:, start : start + CHUNK] = white @ load + rest * generator.standard_normal((n, len(part)))
        return out

    def _against(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of rows, covariance between observations and rows, slopes of rows; rows on the device."""
        mean, slopes = self._process.mean.linearised(rows)
        cross = self._process.kernel(self._data.rows.x, rows.x) + self.slopes @ slopes.mT
        return mean + cross.mT @ self.solved, cross, slopes

    @torch.no_grad()
    def leave_groups_out(self, groups: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Residual and latent variance of each observation given those of all other groups, (rows,) each.

        Args:
            groups: Group of each observation, (rows,).

        Cost: O(rows³), one inverse in all. Parameters stay as fitted on everything.

        Source: Rasmussen and Williams 2006, eq. 5.12, by blocks.
        """
        precision = self.factor.inverse()
        residual = torch.empty_like(self.solved)
        variance = torch.empty_like(self.solved)
        for blocks in blocks_of(groups):
            index = torch.from_numpy(blocks).to(self.device)
            factor = _factors(precision[index[:, :, None], index[:, None, :]])
            residual[index] = torch.cholesky_solve(self.solved[index][..., None], factor)[..., 0]
            variance[index] = torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1)
        noise = self._process.noise(self._data.rows) / self._data.weight
        return residual.cpu(), (variance - noise).clamp_min(0.0).cpu()

    @torch.no_grad()
    def density_without(self, index: NDArray[np.intp]) -> NDArray[np.float64]:
        """Log density of each of some observations given all others, noise included, (index,).

        Cost: O(rows² × block), then O(block³).
        """
        block, factor = self._precision_of(index)
        residual = torch.cholesky_solve(self.solved[block][:, None], factor)[:, 0]
        variance = torch.cholesky_inverse(factor).diagonal()
        return (-0.5 * (residual.square() / variance + torch.log(2 * torch.pi * variance))).cpu().numpy()

    @torch.no_grad()
    def log_density_of(self, index: NDArray[np.intp]) -> float:
        """Joint log density of some observations given all others, at the parameters of the fit.

        Cost: O(rows³), then O(block³).
        """
        block, factor = self._precision_of(index)
        white = torch.linalg.solve_triangular(factor, self.solved[block][:, None], upper=False)
        constant = 0.5 * len(block) * float(np.log(2 * np.pi))
        return float(-0.5 * white.square().sum() + factor.diagonal().log().sum()) - constant

    def _precision_of(self, index: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Some observations, and the factor of their block of the inverse covariance."""
        block = torch.from_numpy(index).to(self.device)
        columns = self.solved.new_zeros(len(self.data), len(block))
        columns[block, torch.arange(len(block), device=self.device)] = 1.0
        half = self.factor.forward(columns)
        return block, cholesky(half.mT @ half)[0]

    @torch.no_grad()
    def log_evidence(self) -> float:
        """Log marginal likelihood on the modelled scale, uncertain mean included."""
        mean, _ = self._process.mean.linearised(self._data.rows)
        residual = self._data.y - mean
        constant = 0.5 * len(residual) * float(np.log(2 * np.pi))
        return float(-0.5 * (residual @ self.solved) - self.factor.log_volume()) - constant


@torch.no_grad()
def solve_exactly(
    process: CurveProcess,
    data: Observations,
    device: torch.device | None = None,
    prior: Tensor | None = None,
) -> ExactState:
    """Condition a process on observations.

    Args:
        process: With its parameters on the CPU.
        data: Observations on the CPU.
        device: Where the algebra runs; by default the CPU.
        prior: Covariance of the observations without noise and mean, where that is known, (rows, rows).

    Cost: O(rows³) time, O(rows²) memory.

    Raises:
        NotPositiveDefiniteError: if the covariance stays singular.
    """
    device = device or torch.device("cpu")
    local, here = copied_to(process, device), data.to(device)
    mean, slopes = local.mean.linearised(here.rows)
    prior = local.kernel(here.rows.x) if prior is None else prior.to(device)
    covariance = prior + slopes @ slopes.mT
    covariance = covariance + torch.diag(local.noise(here.rows) / here.weight)
    factor, jitter = cholesky(covariance)
    solved = torch.cholesky_solve((here.y - mean)[:, None], factor)[:, 0]
    return ExactState(process, data, Triangle.whole(factor), solved, slopes, jitter)


def blocks_of(groups: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Positions of the members of groups, one array (groups, size) for all groups of one size."""
    order = np.argsort(groups, kind="stable")
    starts = np.r_[0, np.flatnonzero(np.diff(groups[order])) + 1]
    sizes = np.diff(np.r_[starts, len(order)])
    for size in np.unique(sizes):
        yield order[starts[sizes == size][:, None] + np.arange(size)]


def _factors(matrices: Tensor) -> Tensor:
    """Cholesky factors of matrices, all at once unless one of them needs jitter."""
    factor, info = torch.linalg.cholesky_ex(matrices)
    if not bool(info.any()) and bool(torch.isfinite(factor).all()):
        return factor
    return torch.stack([cholesky(matrix)[0] for matrix in matrices])
