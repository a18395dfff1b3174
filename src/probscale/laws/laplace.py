"""Asymptotic uncertainty of a Huber fit, and the scatter of single points around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.laws.huber import Quadratic

__all__ = ["laplace_covariance", "spread_of"]

Array = NDArray[np.float64]
WIDEST = 50.0


def laplace_covariance(
    residuals: Array, jacobian: Array, weights: Array, delta: float, penalty: Quadratic
) -> Array:
    """Covariance of the coordinates of an M-estimate, (coordinates, coordinates).

    The sandwich H⁻¹ (Σ wψ² jjᵀ) H⁻¹, which allows a scatter that depends on the inputs. H = Σ wψ' jjᵀ
    rests on the few points within `delta`, so ψ' is averaged over a wider band of residuals, as for quantile
    regression, and a tenth of it is spread evenly so that H keeps full rank. Points that the curve was laid
    through, one per coordinate, do not count in it. Infinite when no degree of freedom is left.

    Source: Huber 1981, section 6.3; Powell 1991 for the band.
    """
    count, width = jacobian.shape
    if count <= width:
        return np.diag(np.full(width, np.inf))
    size = np.abs(residuals)
    band = max(delta, 2.12 * _quantile(size, weights, 0.5) / 0.6745 * count**-0.2)
    inside = weights * (size <= band) * (delta / band if np.isfinite(band) else 1.0)
    inside = inside * _free_share(float(weights[size <= band].sum() / weights.sum()), count, width)
    inside = 0.9 * inside + 0.1 * weights * inside.sum() / weights.sum()
    scale = np.sqrt(weights @ jacobian**2)
    live = scale > 1e-9 * np.sqrt(weights.sum())
    scaled, strength = jacobian[:, live] / scale[live], penalty.precision[live] / scale[live] ** 2
    values, vectors = np.linalg.eigh(scaled.T @ (inside[:, None] * scaled) + np.diag(strength))
    inverse = (vectors / np.maximum(values, 1e-12 * values[-1:])) @ vectors.T
    score = np.sqrt(weights * count / (count - width)) * np.clip(residuals, -delta, delta)
    root = np.hstack([(scaled * score[:, None]).T, np.diag(np.sqrt(penalty.nat * strength))])
    found = np.full((width, root.shape[1]), 0.0)
    found[live] = inverse @ root / scale[live, None]
    return _capped(found @ found.T, live)


def _free_share(near: float, count: int, width: int) -> float:
    """How much smaller a share of points near the curve is once those are left out that it was laid through.

    Where hardly any point lies within the threshold, the fit is one of absolute values and goes through as
    many points as it has coordinates. Where all lie within, it is one of squares and nothing changes.
    """
    inside = near * count
    return min(1.0, max(inside - width, 0.5) / (count - width) / near)


def _capped(covariance: Array, live: NDArray[np.bool_]) -> Array:
    """No deviation above `WIDEST`, the value of coordinates that the data say nothing about."""
    covariance[~live, ~live] = WIDEST**2
    deviation = np.sqrt(np.diag(covariance))
    shrink = WIDEST / np.maximum(deviation, WIDEST)
    return covariance * np.outer(shrink, shrink)


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
