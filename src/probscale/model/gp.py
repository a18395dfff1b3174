"""The Gaussian process of one log: mean, kernel, noise; its posterior objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from gpytorch import Module
from torch import Tensor

from probscale.errors import NotPositiveDefiniteError
from probscale.model.gradients import log_normal
from probscale.model.kernels import CurveKernel
from probscale.model.layout import Layout
from probscale.model.means import CurveMean, Rows
from probscale.model.priors import UNTOLD, UNTOLD_STD, declare

NOISE_FLOOR = 1e-6
"""Smallest noise variance on the modelled scale (a standard deviation of 0.001)."""

SCORE_NOISE_FLOOR = 2.5e-3
"""The same for curves of scores: many start with exact zeros, which say little about noise elsewhere."""

JITTERS = (0.0, 1e-10, 1e-8, 1e-6)
"""Relative jitters tried in turn; what the last cannot repair has another cause than rounding."""

TINIEST = 1e-12
"""Variance that every diagonal of a posterior covariance gets, modelled scale."""


@dataclass(frozen=True)
class Observations:
    """Training data of one Gaussian process.

    Attributes:
        rows: Where.
        y: What, on the modelled scale, (rows,).
        weight: Precision of each row relative to the noise level, (rows,); below one for suspected outliers.
    """

    rows: Rows
    y: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor | slice) -> Observations:
        """Some of the observations."""
        return Observations(self.rows.take(index), self.y[index], self.weight[index])

    def to(self, device: torch.device) -> Observations:
        """The same observations on a device."""
        return Observations(self.rows.to(device), self.y.to(device), self.weight.to(device))


class Noise(Module):
    """Observation noise, log-linear along the axis.

    Where rows are whole runs, what values that were not given would have told sets them apart too; rows of
    curves leave that to the deviation of their run.

    Attributes:
        gaps: Columns that mark values that were not given, where rows are whole runs.
    """

    gaps: tuple[int, ...] = ()

    def __init__(self, layout: Layout, *, scale: float = 0.01) -> None:
        super().__init__()
        self.axis = layout.axis[:1]
        self.floor = SCORE_NOISE_FLOOR if layout.growth else NOISE_FLOOR
        self.declare("level", math.log(scale), 1.0)
        if self.axis:
            self.declare("slope", 0.0, 0.3)
        if layout.run is None and layout.untold:
            self.gaps = layout.untold
            usual = math.log(UNTOLD * scale / math.sqrt(len(self.gaps)))
            each = torch.full((len(self.gaps),), usual, dtype=torch.float64)
            declare(self, "hidden", each, each, UNTOLD_STD)

    def declare(self, name: str, mean: float, std: float) -> None:
        """Register a parameter at its prior mean."""
        declare(self, name, mean, mean, std)

    def untold(self, rows: Rows) -> Tensor:
        """Variance of what values that were not given would have told, (rows,); zero where rows lack none."""
        if not self.gaps:
            return rows.x.new_zeros(len(rows))
        missing = (rows.x[:, list(self.gaps)] != 0.0).to(rows.x.dtype)
        return missing @ torch.exp(2 * self.get_parameter("hidden"))

    def __call__(self, rows: Rows) -> Tensor:
        """Noise variance of each row, (rows,)."""
        return self.forward(rows)

    def forward(self, rows: Rows) -> Tensor:
        """Noise variance of each row."""
        log_std = self.get_parameter("level").expand(len(rows))
        if self.axis:
            log_std = log_std + self.get_parameter("slope") * rows.x[:, self.axis[0]].clamp(-3, 3)
        plain = torch.exp(2 * log_std) + self.floor
        return plain + self.untold(rows) if self.gaps else plain


class CurveProcess(Module):
    """Mean, kernel and noise of a log's curves on the modelled scale."""

    _declared: list[Any] | None = None

    def __init__(self, layout: Layout, mean: CurveMean, *, scale: float, noise: float) -> None:
        super().__init__()
        self.layout = layout
        self.mean = mean
        self.kernel = CurveKernel(layout, scale=scale)
        self.noise = Noise(layout, scale=noise)

    def log_prior(self) -> Tensor:
        """Log density of the current parameters under their priors."""
        found = self._with_priors()
        value = torch.cat([each.reshape(-1) for each, _ in found])
        location, std = (
            torch.cat([getattr(prior, name).expand(each.shape).reshape(-1) for each, prior in found])
            for name in ("loc", "scale")
        )
        constant = 0.5 * len(value) * math.log(2 * math.pi)
        return -0.5 * ((value - location) / std).square().sum() - std.log().sum() - constant

    def prior_of(self, parameters: list[torch.nn.Parameter]) -> tuple[Tensor, Tensor]:
        """Prior means and standard deviations of numbers of parameters, in turn; infinite without a prior.

        Where a parameter has several priors, that of their product.
        """
        weighed: dict[Tensor, Tensor] = {p: torch.zeros_like(p) for p in parameters}
        precision: dict[Tensor, Tensor] = {p: torch.zeros_like(p) for p in parameters}
        for each, prior in self._with_priors():
            if each in precision:
                share = prior.scale.expand(each.shape) ** -2
                precision[each] = precision[each] + share
                weighed[each] = weighed[each] + share * prior.loc.expand(each.shape)
        total, mean = (
            torch.cat([known[p].reshape(-1) for p in parameters]).detach() for known in (precision, weighed)
        )
        return mean / total.clamp_min(torch.finfo(total.dtype).tiny), total**-0.5

    def _with_priors(self) -> list[tuple[Tensor, Any]]:
        """Parameters and their priors, where several terms share one as often as they do."""
        declared = self._declared
        if declared is None:
            # Walking through all modules takes as long as the sums of a small log.
            declared = [(module, prior, value) for _, module, prior, value, _ in self.named_priors()]
            self._declared = declared
        return [(value(module), prior) for module, prior, value in declared]

    @torch.no_grad()
    def log_posterior(self, data: Observations) -> float:
        """Log posterior of the parameters, up to a constant; minus infinity where it cannot be computed."""
        try:
            return float(self.log_likelihood(data) + self.log_prior())
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            return -math.inf

    def log_likelihood(self, data: Observations) -> Tensor:
        """Log marginal likelihood of the observations on the modelled scale.

        Cost: O(rows³) time, O(rows²) memory.
        """
        noise = self.noise(data.rows) / data.weight
        return log_normal(self.kernel(data.rows.x), data.y - self.mean(data.rows), noise)


def symmetric(matrix: Tensor) -> Tensor:
    """Matrices without the asymmetry of their rounding, (…, rows, rows)."""
    return 0.5 * (matrix + matrix.mT)


def symmetrised(covariance: Tensor, relative: float) -> Tensor:
    """A posterior covariance without what rounding did to it: symmetric, with a little on its diagonal.

    Args:
        covariance: A difference of covariances, (rows, rows).
        relative: What is added, as a share of the mean diagonal.
    """
    tiny = TINIEST + relative * float(covariance.diagonal().mean())
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    return symmetric(covariance) + tiny * identity


def cholesky(matrix: Tensor) -> tuple[Tensor, float]:
    """Cholesky factor and the jitter it took, relative to the mean diagonal.

    Raises:
        NotPositiveDefiniteError: if 1e-6 does not suffice.
    """
    scale = float(matrix.diagonal().mean())
    for jitter in JITTERS:
        factor, info = torch.linalg.cholesky_ex(
            matrix + jitter * scale * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
            if jitter
            else matrix
        )
        if int(info) == 0 and bool(torch.isfinite(factor).all()):
            return factor, jitter
    raise NotPositiveDefiniteError(
        f"a covariance of {len(matrix)} points stayed singular with a relative jitter of {JITTERS[-1]:g}; "
        "check the log for runs whose points nearly coincide",
        points=len(matrix),
    )
