"""Curves on a shared axis grid: a Kronecker product across configurations and axis, plus runs of their own.

y_i(t) = level + f_i(t) + δ_i(t) + ε with f ~ GP(0, K_config ⊗ K_axis) and δ_i ~ GP(0, K_run), one per run.
K_axis has few features Φ, hence f_i(t) = Φ(t) w_i with w ~ N(0, K_config ⊗ I). Missing cells, prefixes above
all, only change what each run says about its own w_i; when no cell is missing, eigenvectors of K_config and
of what every run says diagonalise the whole system.

Source: Saatçi 2011, chapter 5, for the product; Bonilla et al. 2007 for the multi-task reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from gpytorch import Module
from torch import Tensor

from probscale.model.gp import NOISE_FLOOR
from probscale.model.kernels import CurveKernel
from probscale.model.layout import Layout
from probscale.model.lines import line_covariance
from probscale.model.matern import matern52
from probscale.model.priors import declare

INDUCING = 6
"""Points along the axis that carry the bends which configurations share."""

INNER_JITTER = 1e-8
"""Added to the diagonal of correlations between inducing axis values, whose kernel is one there."""

SCORE_JITTER = 1e-10
"""Added to the precision of scores, relative to one plus its mean diagonal: few points leave it singular."""

BEYOND = 0.35
"""How far past the grid they reach, as a share of its length: curves are asked beyond their prefixes."""

_PRIORS = {
    "level": (0.0, 1.0),
    "common": (0.0, 1.0),
    "slope": (math.log(0.5), 1.0),
    "bend": (math.log(0.2), 1.0),
    "width": (0.0, 0.7),
    "run_level": (math.log(0.2), 1.0),
    "run_slope": (math.log(0.1), 1.0),
    "run_bend": (math.log(0.1), 1.0),
    "run_width": (0.0, 0.7),
    "noise_level": (math.log(0.05), 1.0),
    "noise_slope": (0.0, 0.3),
}


@dataclass(frozen=True)
class GridData:
    """Curves on a grid.

    Attributes:
        x: Configurations, (runs, columns of the configuration layout).
        axis: Standardised axis coordinates of the grid, (grid,).
        y: Modelled values, (runs, grid); anything where missing.
        seen: Which cells were observed, (runs, grid).
        strays: What runs that came later with values not given stray by, along straight lines: variance of
            the level, covariance with the slope, variance of the slope, (runs, 3); None: no run does.
    """

    x: Tensor
    axis: Tensor
    y: Tensor
    seen: Tensor
    strays: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def complete(self) -> bool:
        """Whether no cell is missing and runs deviate alike."""
        return bool(self.seen.all()) and self.strays is None

    def take(self, index: Tensor) -> GridData:
        """Some of the runs."""
        strays = None if self.strays is None else self.strays[index]
        return GridData(self.x[index], self.axis, self.y[index], self.seen[index], strays)

    def to(self, device: torch.device) -> GridData:
        """The same curves on a device."""
        x, axis, y, seen = (part.to(device) for part in (self.x, self.axis, self.y, self.seen))
        return GridData(x, axis, y, seen, None if self.strays is None else self.strays.to(device))

    def straying(self, runs: Tensor, axis1: Tensor, axis2: Tensor) -> Tensor:
        """Covariance of what runs stray by at axis coordinates, (runs, points, points).

        Args:
            runs: Positions of runs, (runs,).
            axis1: Coordinates, (runs, points) or (points,).
            axis2: The same.
        """
        assert self.strays is not None
        lines = self.strays[runs][:, None, None]
        return line_covariance(lines, axis1[..., :, None], axis2[..., None, :])


class GridProcess(Module):
    """Kernels along the axis and across configurations; all amplitudes are relative to `scale`.

    Args:
        layout: Columns of a configuration, without axis and run.
        scale: Typical deviation of curves on the modelled scale.
        centre: Typical value.
        ends: First and last axis coordinate of the grid.
    """

    ends: Tensor

    def __init__(self, layout: Layout, *, scale: float, centre: float, ends: tuple[float, float]) -> None:
        super().__init__()
        self.layout = layout
        self.scale, self.centre = scale, centre
        self.configs = CurveKernel(layout, scale=1.0)
        self.register_buffer("ends", torch.tensor(ends, dtype=torch.float64))
        for name, (mean, std) in _PRIORS.items():
            declare(self, name, mean, mean, std)

    def log_prior(self) -> Tensor:
        """Log density of the current parameters under their priors."""
        terms = [p.log_prob(closure(module)).sum() for _, module, p, closure, _ in self.named_priors()]
        return torch.stack(terms).sum()

    def between(self, x1: Tensor, x2: Tensor) -> Tensor:
        """K_config: what configurations share, and what all of them have in common, (rows, rows)."""
        return self._square("common") + self.configs(x1, x2)

    def prior_between(self, x: Tensor) -> Tensor:
        """Diagonal of K_config, (rows,)."""
        return self._square("common") + self.configs(x, diag=True)

    def features(self, axis: Tensor) -> Tensor:
        """Φ at axis coordinates: level, slope and bends, (…, features)."""
        first, last = self.ends
        knots = torch.linspace(0, 1 + BEYOND, INDUCING, dtype=axis.dtype, device=axis.device)
        knots = first + (last - first) * knots
        width = torch.exp(self.get_parameter("width"))
        inner = matern52(((knots[:, None] - knots) / width).square())
        factor = torch.linalg.cholesky(
            inner + INNER_JITTER * torch.eye(INDUCING, dtype=axis.dtype, device=axis.device)
        )
        cross = matern52(((axis[..., None] - knots) / width).square())
        bends = torch.linalg.solve_triangular(factor, cross.mT, upper=False).mT
        slope = torch.exp(self.get_parameter("slope")) * axis
        bend = torch.exp(self.get_parameter("bend")) * bends
        level = torch.ones_like(axis)
        whole = torch.cat([level[..., None], slope[..., None], bend], dim=-1)
        return self.scale * torch.exp(self.get_parameter("level")) * whole

    def own(self, axis1: Tensor, axis2: Tensor) -> Tensor:
        """K_run at axis coordinates, (…, points, points)."""
        apart = (axis1[..., :, None] - axis2[..., None, :]) / torch.exp(self.get_parameter("run_width"))
        line = self._square("run_slope") * axis1[..., :, None] * axis2[..., None, :]
        bend = self._square("run_bend") * matern52(apart.square())
        return self.scale**2 * (self._square("run_level") + line + bend)

    def noise(self, axis: Tensor) -> Tensor:
        """Noise variance at axis coordinates."""
        log_std = self.get_parameter("noise_level") + self.get_parameter("noise_slope") * axis.clamp(-3, 3)
        return self.scale**2 * torch.exp(2 * log_std) + NOISE_FLOOR

    def log_likelihood(self, data: GridData) -> Tensor:
        """Log marginal likelihood of the observed cells.

        Cost: O((runs × features)³ + runs × grid³).
        """
        says = runs_say(self, data)
        between = self.between(data.x, data.x)
        system = dense_system(between, says)
        solved = system.solve(says.moment)
        expected = between @ solved
        # Sums of squares: the shorter form with differences cancels when amplitudes are large.
        rest = says.residual - (says.features @ expected[..., None])[..., 0]
        squares = rest.square().sum() + (solved * expected).sum()
        own = says.factor.diagonal(dim1=-2, dim2=-1).log().sum()
        constant = 0.5 * float(data.seen.sum()) * math.log(2 * math.pi)
        return -0.5 * squares - own - system.factor.diagonal().log().sum() - constant

    def _square(self, name: str) -> Tensor:
        return torch.exp(2 * self.get_parameter(name))


@dataclass(frozen=True)
class RunsSay:
    """What each run's points say about its own scores, run deviation and noise integrated out.

    Attributes:
        factor: Cholesky factors of K_run + noise at the observed cells, identity elsewhere, (runs, grid,
            grid).
        residual: Residuals from the centre, whitened by it, (runs, grid).
        features: Features, whitened by it, (runs, grid, features).
        root: R with RᵀR the precision of the scores, (runs, features, features).
        moment: Precision times scores, (runs, features).
    """

    factor: Tensor
    residual: Tensor
    features: Tensor
    root: Tensor
    moment: Tensor


def runs_say(process: GridProcess, data: GridData) -> RunsSay:
    """Precision and moment of the scores of each run.

    Cost: O(runs × grid³); one factor in all when the grid is complete.
    """
    seen = data.seen.to(data.y.dtype)
    full = process.own(data.axis, data.axis) + torch.diag(process.noise(data.axis))
    if data.complete:
        factor = torch.linalg.cholesky(full).expand(len(data), -1, -1)
    else:
        if data.strays is not None:
            every = torch.arange(len(data), device=full.device)
            full = full + data.straying(every, data.axis, data.axis)
        masked = full * seen[:, :, None] * seen[:, None, :] + torch.diag_embed(1 - seen)
        factor = torch.linalg.cholesky(masked)
    centred = torch.where(data.seen, data.y - process.centre, torch.zeros_like(data.y))
    residual = torch.linalg.solve_triangular(factor, centred[:, :, None], upper=False)[..., 0]
    features = process.features(data.axis) * seen[:, :, None]
    if data.complete:
        features = torch.linalg.solve_triangular(factor[0], features[0], upper=False).expand_as(features)
    else:
        features = torch.linalg.solve_triangular(factor, features, upper=False)
    precision = features.mT @ features
    count = precision.shape[-1]
    tiny = SCORE_JITTER * (1 + precision.diagonal(dim1=-2, dim2=-1).mean(-1))[:, None, None]
    identity = torch.eye(count, dtype=precision.dtype, device=precision.device)
    root = torch.linalg.cholesky(precision + tiny * identity).mT
    moment = (features.mT @ residual[..., None])[..., 0]
    return RunsSay(factor, residual, features, root, moment)


@dataclass(frozen=True)
class DenseSystem:
    """I + R (K_config ⊗ I) Rᵀ, factored.

    Attributes:
        factor: Cholesky factor, (runs × features)².
        root: R by run, (runs, features, features).
        between: K_config of the runs.
    """

    factor: Tensor
    root: Tensor
    between: Tensor

    def solve(self, moment: Tensor) -> Tensor:
        """(I + G K)⁻¹ moment, from which K_config gives expected scores, (…, runs, features)."""
        back = _into(self.root, self.between @ moment)
        # As columns of one matrix: solved one by one, each would read the whole factor.
        columns = back.reshape(-1, len(self.factor)).mT
        inner = torch.cholesky_solve(columns, self.factor).mT
        return moment - _out_of(self.root, inner.reshape(back.shape))

    def halves(self, cross: Tensor) -> Tensor:
        """Square root of what observations take off the variance of scores.

        Args:
            cross: K_config between asked configurations and runs, (asked, runs).

        Returns:
            H with covariance (a, p), (b, q) reduced by Σ H[:, a, p] H[:, b, q], (runs × features, asked,
            features).
        """
        count, features = self.root.shape[:2]
        columns = torch.einsum("ai,ipq->ipaq", cross, self.root).reshape(count * features, -1)
        half = torch.linalg.solve_triangular(self.factor, columns, upper=False)
        return half.reshape(count * features, len(cross), features)


def dense_system(between: Tensor, says: RunsSay) -> DenseSystem:
    """The system for any pattern of missing cells.

    Cost: O((runs × features)³) time, O((runs × features)²) memory.
    """
    count, features = says.moment.shape
    size = count * features
    flat = says.root.reshape(size, features)
    inner = between.repeat_interleave(features, 0).repeat_interleave(features, 1)
    matrix = inner * (flat @ flat.mT) + torch.eye(size, dtype=flat.dtype, device=flat.device)
    return DenseSystem(torch.linalg.cholesky(matrix), says.root, between)


@dataclass(frozen=True)
class EigenSystem:
    """The same for a complete grid, where every run says equally much: diagonal in two sets of eigenvectors.

    Attributes:
        vectors: Eigenvectors of K_config, (runs, runs).
        values: Its eigenvalues, (runs,).
        directions: Eigenvectors of the precision G of every run, (features, features).
        precisions: Its eigenvalues, (features,).
    """

    vectors: Tensor
    values: Tensor
    directions: Tensor
    precisions: Tensor

    @property
    def shrink(self) -> Tensor:
        """1 / (1 + s λ) for every pair of eigenvalues, (runs, features)."""
        return 1 / (1 + self.values[:, None] * self.precisions)

    def solve(self, moment: Tensor) -> Tensor:
        """As `DenseSystem.solve`."""
        inner = self.vectors.mT @ moment @ self.directions
        return self.vectors @ (self.shrink * inner) @ self.directions.mT

    def halves(self, cross: Tensor) -> Tensor:
        """As `DenseSystem.halves`."""
        turned = cross @ self.vectors
        weight = (self.precisions * self.shrink).clamp_min(0.0).sqrt()
        parts = torch.einsum("ai,iq,pq->iqap", turned, weight, self.directions)
        return parts.reshape(-1, len(cross), len(self.precisions))


def eigen_system(between: Tensor, says: RunsSay) -> EigenSystem:
    """The system of a complete grid.

    Cost: O(runs³ + features³).
    """
    values, vectors = torch.linalg.eigh(between)
    precisions, directions = torch.linalg.eigh(says.root[0].mT @ says.root[0])
    return EigenSystem(vectors, values.clamp_min(0.0), directions, precisions.clamp_min(0.0))


def _into(root: Tensor, scores: Tensor) -> Tensor:
    return torch.einsum("ipq,...iq->...ip", root, scores)


def _out_of(root: Tensor, scores: Tensor) -> Tensor:
    return torch.einsum("ipq,...ip->...iq", root, scores)
