"""Exact inference: one Cholesky factor gives every prediction, update and leave-one-out score."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probscale.model.gp import CurveProcess, Observations, cholesky
from probscale.model.means import Rows

CHUNK = 2_000
LANDMARKS = 3_000


def _floored(covariance: Tensor) -> Tensor:
    """A posterior covariance with rounding noise kept off its diagonal."""
    tiny = 1e-12 + 1e-10 * float(covariance.diagonal().mean())
    return 0.5 * (covariance + covariance.mT) + tiny * torch.eye(
        len(covariance), dtype=covariance.dtype, device=covariance.device
    )


@dataclass(frozen=True)
class ExactState:
    """Posterior of a curve process given observations.

    Attributes:
        process: Mean, kernel and noise with fitted parameters.
        data: What was observed.
        factor: Lower Cholesky factor of the covariance of the observations, uncertain mean included.
        solved: That covariance solved against the residuals.
        slopes: Standard deviations along the mean's parameters at the observations, (rows, parameters).
        jitter: Relative jitter the factorisation took.
    """

    process: CurveProcess
    data: Observations
    factor: Tensor
    solved: Tensor
    slopes: Tensor
    jitter: float

    @torch.no_grad()
    def extend(self, more: Observations) -> ExactState:
        """Posterior after more observations, parameters unchanged.

        Cost: O(rows² × new rows): the factor is continued, not recomputed.
        """
        mean, slopes = self.process.mean.linearised(more.rows)
        cross = self.process.kernel(self.data.rows.x, more.rows.x) + self.slopes @ slopes.mT
        corner = self.process.kernel(more.rows.x) + slopes @ slopes.mT
        corner = corner + torch.diag(self.process.noise(more.rows) / more.weight)
        left = torch.linalg.solve_triangular(self.factor, cross, upper=False).mT
        block, jitter = cholesky(corner - left @ left.mT)
        old = len(self.data)
        factor = torch.zeros(
            old + len(more), old + len(more), dtype=self.factor.dtype, device=self.factor.device
        )
        factor[:old, :old] = self.factor
        factor[old:, :old] = left
        factor[old:, old:] = block
        data = Observations(
            self.data.rows.cat(more.rows),
            torch.cat([self.data.y, more.y]),
            torch.cat([self.data.weight, more.weight]),
        )
        residual = data.y - torch.cat([self.process.mean.linearised(self.data.rows)[0], mean])
        solved = torch.cholesky_solve(residual[:, None], factor)[:, 0]
        return replace(
            self,
            data=data,
            factor=factor,
            solved=solved,
            slopes=torch.cat([self.slopes, slopes]),
            jitter=max(self.jitter, jitter),
        )

    @torch.no_grad()
    def marginals(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Latent mean and variance of each row.

        Cost: O(observations² × rows), in blocks of bounded memory.
        """
        means, variances = [], []
        for start in range(0, len(rows), CHUNK):
            part = rows.take(slice(start, start + CHUNK))
            mean, cross, slopes = self._against(part)
            left = torch.linalg.solve_triangular(self.factor, cross, upper=False)
            prior = self.process.kernel(part.x, diag=True) + slopes.square().sum(-1)
            means.append(mean)
            variances.append((prior - left.square().sum(0)).clamp_min(0.0))
        return torch.cat(means), torch.cat(variances)

    @torch.no_grad()
    def covariance(self, rows: Rows, others: Rows) -> Tensor:
        """Joint latent covariance of two sets of rows, (rows, others).

        Cost: O(observations² × (rows + others) + observations × rows × others).
        """
        _, cross, slopes = self._against(rows)
        _, cross_others, slopes_others = self._against(others)
        left = torch.linalg.solve_triangular(self.factor, cross, upper=False)
        right = torch.linalg.solve_triangular(self.factor, cross_others, upper=False)
        return self.process.kernel(rows.x, others.x) + slopes @ slopes_others.mT - left.mT @ right

    @torch.no_grad()
    def draw(self, rows: Rows, generator: np.random.Generator, n: int) -> np.ndarray:
        """Joint latent deviations from the posterior mean, (n, rows).

        Beyond `LANDMARKS` rows, rows are drawn jointly given a spread subset of them, and independently
        beyond what the subset explains: marginals stay exact.

        Cost: O(rows³) up to `LANDMARKS` rows, then O(rows × LANDMARKS²).
        """
        count = len(rows)
        if count <= LANDMARKS:
            factor, _ = cholesky(_floored(self.covariance(rows, rows)))
            return generator.standard_normal((n, count)) @ factor.numpy().T
        chosen = torch.from_numpy(np.sort(generator.permutation(count)[:LANDMARKS]))
        landmarks = rows.take(chosen)
        factor, _ = cholesky(_floored(self.covariance(landmarks, landmarks)))
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
        """Mean of rows, covariance between observations and rows, slopes of rows."""
        mean, slopes = self.process.mean.linearised(rows)
        cross = self.process.kernel(self.data.rows.x, rows.x) + self.slopes @ slopes.mT
        return mean + cross.mT @ self.solved, cross, slopes

    @torch.no_grad()
    def leave_groups_out(self, groups: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Residual and latent variance of each observation given those of all other groups, (rows,) each.

        Args:
            groups: Group of each observation, (rows,).

        Cost: O(rows³), one inverse in all. Parameters stay as fitted on everything.

        Source: Rasmussen and Williams 2006, eq. 5.12, by blocks.
        """
        precision = torch.cholesky_inverse(self.factor)
        residual = torch.empty_like(self.solved)
        variance = torch.empty_like(self.solved)
        order = np.argsort(groups, kind="stable")
        for block in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            index = torch.from_numpy(block)
            factor, _ = cholesky(precision[index][:, index])
            residual[index] = torch.cholesky_solve(self.solved[index][:, None], factor)[:, 0]
            variance[index] = torch.cholesky_inverse(factor).diagonal()
        noise = self.process.noise(self.data.rows) / self.data.weight
        return residual, (variance - noise).clamp_min(0.0)

    @torch.no_grad()
    def log_density_of(self, index: NDArray[np.intp]) -> float:
        """Joint log density of some observations given all others, at the parameters of the fit.

        Cost: O(rows³), then O(block³).
        """
        block = torch.from_numpy(index)
        columns = torch.zeros(len(self.data), len(block), dtype=self.factor.dtype)
        columns[block, torch.arange(len(block))] = 1.0
        half = torch.linalg.solve_triangular(self.factor, columns, upper=False)
        factor, _ = cholesky(half.mT @ half)
        white = torch.linalg.solve_triangular(factor, self.solved[block][:, None], upper=False)
        constant = 0.5 * len(block) * float(np.log(2 * np.pi))
        return float(-0.5 * white.square().sum() + factor.diagonal().log().sum()) - constant

    @torch.no_grad()
    def log_evidence(self) -> float:
        """Log marginal likelihood on the modelled scale, uncertain mean included."""
        mean, _ = self.process.mean.linearised(self.data.rows)
        residual = self.data.y - mean
        constant = len(residual) * torch.log(torch.tensor(2 * torch.pi, dtype=residual.dtype))
        return float(-0.5 * (residual @ self.solved) - self.factor.diagonal().log().sum() - 0.5 * constant)


@torch.no_grad()
def solve_exactly(process: CurveProcess, data: Observations) -> ExactState:
    """Condition a process on observations.

    Cost: O(rows³) time, O(rows²) memory.

    Raises:
        NotPositiveDefiniteError: if the covariance stays singular.
    """
    mean, slopes = process.mean.linearised(data.rows)
    covariance = process.kernel(data.rows.x) + slopes @ slopes.mT
    covariance = covariance + torch.diag(process.noise(data.rows) / data.weight)
    factor, jitter = cholesky(covariance)
    solved = torch.cholesky_solve((data.y - mean)[:, None], factor)[:, 0]
    return ExactState(process, data, factor, solved, slopes, jitter)
