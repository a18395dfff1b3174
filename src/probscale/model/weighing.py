"""Which points are believed: weights of a Student-t likelihood, small where others foretell otherwise."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from probscale.model.gp import CurveProcess, Observations, cholesky
from probscale.model.means import Rows
from probscale.model.robust import STD_PER_MEDIAN

STUDENT_DEGREES = 4.0
"""Degrees of freedom of the likelihood of points."""

FIRST_TOLERANCE = 3.0
"""Factor on the robust spread before anything but the mean is known: what a kernel may yet explain."""

SUSPECT = 0.1
"""Weight below which a point does not judge others."""

LEAST_SPREAD = 1e-3
"""Smallest robust standard deviation, modelled scale."""


def spread_of(residual: Tensor) -> float:
    """Robust standard deviation around zero, kept away from zero."""
    return max(float(residual.abs().median()) * STD_PER_MEDIAN, LEAST_SPREAD)


@torch.no_grad()
def leave_one_out(
    process: CurveProcess, data: Observations, prior: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Residual and variance of each point predicted from all others, its noise included, (rows,) each.

    Args:
        process: With its parameters.
        data: The points.
        prior: Covariance of the points without noise, where that is known, (rows, rows).

    Source: Rasmussen and Williams 2006, eq. 5.12.
    """
    prior = process.kernel(data.rows.x) if prior is None else prior
    factor, _ = cholesky(prior + torch.diag(process.noise(data.rows) / data.weight))
    residual = data.y - process.mean(data.rows)
    precision = torch.cholesky_inverse(factor)
    variance = 1 / precision.diagonal()
    return (precision @ residual) * variance, variance


def robust_weights(process: CurveProcess, data: Observations, prior: Tensor | None = None) -> Tensor:
    """Weights of a Student-t likelihood, (rows,): near one for ordinary points, small for outliers.

    Each point is judged with its own noise at full weight by the points that are not suspect: diverged runs
    come in clusters, and a cluster must not vouch for itself. A suspect that the others predict after all is
    readmitted. Where all are suspect, none is: somebody has to judge.

    Args:
        process: With its parameters.
        data: The points and their present weights.
        prior: Covariance of the points without noise, where that is known, (rows, rows).

    Source: expectation step of the scale-mixture view, Lange, Little and Taylor 1989; the readmission follows
        the forward search of Atkinson and Riani 2000.
    """
    if bool((data.weight < SUSPECT).all()):
        data = replace(data, weight=torch.ones_like(data.weight))
    trusted = torch.nonzero(data.weight >= SUSPECT)[:, 0]
    suspect = torch.nonzero(data.weight < SUSPECT)[:, 0]
    z = torch.empty_like(data.y)
    core = data.take(trusted)
    inner = None if prior is None else prior if not len(suspect) else prior[trusted][:, trusted]
    residual, variance = leave_one_out(process, core, inner)
    noise = process.noise(core.rows).detach()
    z[trusted] = residual.square() / ((variance - noise / core.weight).clamp_min(0.0) + noise)
    if len(suspect):
        asked = data.take(suspect)
        mean, latent = predict_dense(process, core, asked.rows)
        z[suspect] = (asked.y - mean).square() / (latent + process.noise(asked.rows).detach())
    return _weights(z)


def _weights(squared: Tensor) -> Tensor:
    """Student-t weights of squared standardised residuals."""
    return (STUDENT_DEGREES + 1) / (STUDENT_DEGREES + squared)


@torch.no_grad()
def predict_dense(process: CurveProcess, data: Observations, rows: Rows) -> tuple[Tensor, Tensor]:
    """Latent mean and variance at rows given observations, parameters of the mean as they are."""
    covariance = process.kernel(data.rows.x) + torch.diag(process.noise(data.rows) / data.weight)
    factor, _ = cholesky(covariance)
    cross = process.kernel(data.rows.x, rows.x)
    left = torch.linalg.solve_triangular(factor, cross, upper=False)
    solved = torch.cholesky_solve((data.y - process.mean(data.rows))[:, None], factor)[:, 0]
    variance = process.kernel(rows.x, diag=True) - left.square().sum(0)
    return process.mean(rows) + cross.mT @ solved, variance.clamp_min(0.0)


@torch.no_grad()
def first_weights(process: CurveProcess, data: Observations) -> Tensor:
    """Weights before anything but the mean is known: only what lies far off it loses its say.

    Diverged runs come in clusters that would vouch for each other; what was merely badly tuned returns once
    the kernel has learnt from the rest.
    """
    residual = data.y - process.mean(data.rows)
    return _weights((residual / (FIRST_TOLERANCE * spread_of(residual))).square())
