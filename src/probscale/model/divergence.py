"""Divergence: telling diverged runs from badly tuned ones, and how probable divergence is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr
from torch import Tensor

from probscale.model.gp import CurveProcess, cholesky
from probscale.model.means import Rows

Array = NDArray[np.float64]

THRESHOLDS = (0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.6)
"""Excesses over the law that are tried, modelled scale: .4 is half as much loss again above the floor."""

FEWEST = 3
"""Runs that must lie beyond a threshold."""

MOST_SHARE = 0.4
"""Share of the runs that may."""

FAR = 6.0
"""Robust standard deviations of the bulk that a threshold must exceed."""

VALLEY = 0.35
"""Most runs between half a threshold and itself, as a share of those beyond."""

FEWEST_OF_LEVEL, FEWEST_OF_LABEL = 2, 3
"""Runs that a value of a level, or of another label, must have for high losses to be its own."""

CLEAR = 1.3
"""How far beyond a threshold the median of the runs beyond must lie, as a multiple of it."""

AMPLITUDE = 2.5
"""Standard deviation of the latent of the classifier, in probits."""

NEWTON_STEPS = 30
"""Most steps to the mode."""


def divergence_threshold(excess: Array, spread: float) -> float | None:
    """Smallest excess over the law from which on runs count as diverged, or None.

    Divergence is bimodal: beyond the bulk comes a valley with few runs, then the diverged ones. A long but
    steady tail (badly tuned runs, repeated data) has no valley and is left alone.

    Args:
        excess: Modelled value minus the law's, positive meaning worse, (points,).
        spread: Robust standard deviation of the bulk.
    """
    for threshold in THRESHOLDS:
        above = int((excess > threshold).sum())
        valley = int(((excess > threshold / 2) & (excess <= threshold)).sum())
        if above < FEWEST or threshold < FAR * spread or above > MOST_SHARE * len(excess):
            continue
        if valley <= VALLEY * above and np.median(excess[excess > threshold]) > CLEAR * threshold:
            return threshold
    return None


def beside_own_value(excess: Array, labels: Sequence[tuple[Array, bool]]) -> Array:
    """Excess over the law beyond what all runs of a label's value have, (runs,).

    Where every run of a data set, say, lies far above the law of the others, its losses are higher, and its
    runs did not diverge.

    Args:
        excess: Modelled value at the end minus the law's, (runs,).
        labels: Value of each run, (runs,), and whether the label is a level.
    """
    out = excess
    for values, level in labels:
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        least = np.full(len(counts), np.inf)
        np.minimum.at(least, place, out)
        enough = counts >= (FEWEST_OF_LEVEL if level else FEWEST_OF_LABEL)
        out = out - np.where(enough, np.maximum(least, 0.0), 0.0)[place]
    return out


@dataclass(frozen=True)
class DivergenceModel:
    """Gaussian process classifier of divergence over configurations.

    Attributes:
        process: Whose kernel says which configurations are alike.
        rows: Training rows.
        gradient: Gradient of the log likelihood at the mode, (rows,).
        root: Square roots of its curvature, (rows,).
        factor: Cholesky factor of I + W½ K W½.
        offset: Probit of the base rate.
    """

    process: CurveProcess
    rows: Rows
    gradient: Tensor
    root: Tensor
    factor: Tensor
    offset: float

    @property
    def count(self) -> int:
        """Number of training runs that diverged: those whose likelihood pulls the latent up."""
        return int((self.gradient > 0).sum())

    def with_process(self, process: CurveProcess) -> DivergenceModel:
        """The classifier of the same runs with the kernel of another process."""
        return fit_divergence(process, self.rows, (self.gradient > 0).numpy())

    @torch.no_grad()
    def probability(self, rows: Rows) -> Array:
        """Probability that a run of each row diverges, (rows,).

        Source: Rasmussen and Williams 2006, algorithm 3.2 with a probit link.
        """
        cross = _correlation(self.process, self.rows, rows)
        mean = self.offset + cross.mT @ self.gradient
        left = torch.linalg.solve_triangular(self.factor, self.root[:, None] * cross, upper=False)
        variance = (AMPLITUDE**2 - left.square().sum(0)).clamp_min(0.0)
        return ndtr((mean / (1 + variance).sqrt()).numpy())


@torch.no_grad()
def fit_divergence(process: CurveProcess, rows: Rows, diverged: NDArray[np.bool_]) -> DivergenceModel:
    """Laplace approximation of a probit Gaussian process classifier.

    Args:
        process: Fitted process whose kernel is borrowed.
        rows: One row per run, stable and diverged.
        diverged: Which of them diverged.

    Cost: O(rows³) per Newton step.

    Source: Rasmussen and Williams 2006, algorithm 3.1.
    """
    label = torch.from_numpy(np.where(diverged, 1.0, -1.0))
    rate = (diverged.sum() + 0.5) / (len(diverged) + 1.0)
    normal = torch.distributions.Normal(
        torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    )
    offset = float(normal.icdf(torch.tensor(rate, dtype=torch.float64))) * float(np.sqrt(1 + AMPLITUDE**2))
    covariance = _correlation(process, rows, rows)
    identity = torch.eye(len(rows), dtype=torch.float64)
    latent = torch.zeros_like(label)
    for _ in range(NEWTON_STEPS):
        gradient, curvature = _probit(label, latent + offset)
        root = curvature.sqrt()
        factor, _ = cholesky(identity + root[:, None] * covariance * root)
        target = curvature * latent + gradient
        inner = torch.cholesky_solve((root * (covariance @ target))[:, None], factor)[:, 0]
        step = covariance @ (target - root * inner)
        done = float((step - latent).abs().max()) < 1e-6
        latent = step
        if done:
            break
    gradient, curvature = _probit(label, latent + offset)
    return divergence_model(process, rows, gradient, curvature.sqrt(), offset)


@torch.no_grad()
def divergence_model(
    process: CurveProcess, rows: Rows, gradient: Tensor, root: Tensor, offset: float
) -> DivergenceModel:
    """The classifier whose mode is known; only its factor is computed anew.

    Args:
        process: Process whose kernel is borrowed.
        rows: Training rows.
        gradient: Gradient of the log likelihood at the mode, (rows,).
        root: Square roots of its curvature, (rows,).
        offset: Probit of the base rate.

    Cost: O(rows³).
    """
    identity = torch.eye(len(rows), dtype=torch.float64)
    factor, _ = cholesky(identity + root[:, None] * _correlation(process, rows, rows) * root)
    return DivergenceModel(process, rows, gradient, root, factor, offset)


def _probit(label: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and curvature of the log probit likelihood."""
    signed = label * latent
    ratio = torch.exp(-0.5 * signed.square() - torch.special.log_ndtr(signed)) / np.sqrt(2 * np.pi)
    return label * ratio, (ratio * (ratio + signed)).clamp_min(1e-10)


def _correlation(process: CurveProcess, first: Rows, second: Rows) -> Tensor:
    """Kernel of the process, scaled to the amplitude of the classifier's latent."""
    scale = float(process.kernel(first.x[:1], diag=True)[0])
    return AMPLITUDE**2 / scale * process.kernel(first.x, second.x)
