"""Asymptotic uncertainty of a Huber fit, and the scatter of single points around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["laplace_covariance", "spread_of"]

Array = NDArray[np.float64]


def laplace_covariance(
    residuals: Array, jacobian: Array, weights: Array, delta: float, precision: Array
) -> Array:
    """Covariance of the coordinates of an M-estimate, (coordinates, coordinates).

    The sandwich H⁻¹ (Σ wψ² jjᵀ) H⁻¹, which allows a scatter that depends on the inputs. H = Σ wψ' jjᵀ
    rests on the few points within `delta`, so ψ' is averaged over a wider band of residuals, as for quantile
    regression, and a tenth of it is spread evenly so that H keeps full rank. Infinite when no degree of
    freedom is left.

    Source: Huber 1981, section 6.3; Powell 1991 for the band.
    """
    count, width = jacobian.shape
    if count <= width:
        return np.diag(np.full(width, np.inf))
    size = np.abs(residuals)
    band = max(delta, 2.12 * _quantile(size, weights, 0.5) / 0.6745 * count**-0.2)
    inside = weights * (size <= band) * (delta / band if np.isfinite(band) else 1.0)
    inside = 0.9 * inside + 0.1 * weights * inside.sum() / weights.sum()
    scale = np.sqrt(np.maximum((weights[:, None] * jacobian**2).sum(axis=0), 1e-300))
    scaled = jacobian / scale
    values, vectors = np.linalg.eigh(scaled.T @ (inside[:, None] * scaled) + np.diag(precision / scale**2))
    inverse = (vectors / np.maximum(values, 1e-14 * values[-1])) @ vectors.T
    score = weights * np.clip(residuals, -delta, delta) ** 2
    meat = scaled.T @ (score[:, None] * scaled) * count / (count - width)
    return inverse @ meat @ inverse / np.outer(scale, scale)


def spread_of(residuals: Array, weights: Array, parameters: int, level: float) -> float:
    """Half-width that holds a share `level` of new points around the law.

    A quantile of |residuals| with the finite-sample step of conformal prediction, widened for the fitted
    parameters. Infinite when no degree of freedom is left. Source: Vovk et al. 2005 for the step (n+1)/n.
    """
    n = residuals.size
    if n <= parameters:
        return np.inf
    return _quantile(np.abs(residuals), weights, min(1.0, level * (n + 1) / n)) * float(
        np.sqrt(n / (n - parameters))
    )


def _quantile(values: Array, weights: Array, level: float) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(np.searchsorted(cumulative, level - 1e-12), values.size - 1)])
