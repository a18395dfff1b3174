"""Robust nonlinear regression: the sum of Huber losses, minimised by damped Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Minimum", "Quadratic", "huber", "minimize_huber"]

Array = NDArray[np.float64]

MOST_STEPS = 300
"""Evaluations of the model after which a minimisation ends."""


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        point: Coordinates.
        objective: Weighted sum of Huber losses there.
        converged: Whether no further decrease was possible.
        steps: Evaluations of the model.
    """

    point: Array
    objective: float
    converged: bool
    steps: int


@dataclass(frozen=True)
class Quadratic:
    """A penalty ½ Σ precision (u − centre)².

    Attributes:
        centre: Coordinates it pulls towards.
        precision: Strength per coordinate; zero leaves one free.
        nat: Objective that counts as one nat, so that the prior's variance is nat / precision.
    """

    centre: Array
    precision: Array
    nat: float = 0.0

    @staticmethod
    def none(coordinates: int) -> Quadratic:
        """No penalty."""
        return Quadratic(np.zeros(coordinates), np.zeros(coordinates))

    def value(self, point: Array) -> float:
        """Penalty at given coordinates."""
        return 0.5 * float(self.precision @ (point - self.centre) ** 2)

    def slope(self, point: Array) -> Array:
        """Its gradient."""
        return self.precision * (point - self.centre)


def huber(residuals: Array, delta: float) -> Array:
    """Huber loss: quadratic within `delta`, linear beyond.

    Source: Huber 1964; `delta` = inf is half the square.
    """
    size = np.abs(residuals)
    inside = np.minimum(size, delta)
    return inside * (size - inside / 2)


def minimize_huber(
    model: Callable[[Array], tuple[Array, Array]],
    start: Array,
    delta: float,
    weights: Array,
    *,
    penalty: Quadratic,
) -> Minimum:
    """Local minimum of Σ wᵢ huber(rᵢ(u), delta) + penalty(u) from one start.

    The curvature mixes two matrices: JᵀJ over the points inside `delta` (Newton's, fast but flat where few
    points lie inside) and JᵀWJ with W = min(1, delta/|r|) (iteratively reweighted least squares, an upper
    bound). A damping factor slides between them and beyond, as in Levenberg-Marquardt.

    Args:
        model: Residuals (points,) and Jacobian (points, coordinates) at given coordinates.
        start: Coordinates to begin from.
        delta: Threshold, in units of the residuals.
        weights: Multiplicity of each point.
        penalty: Pull on the coordinates.

    Cost: O(points × coordinates²) per step.
    """
    # A trial far outside the law's domain overflows; its objective is then not finite and it is refused.
    with np.errstate(all="ignore"):
        return _descend(model, start, delta, weights, penalty)


def _descend(
    model: Callable[[Array], tuple[Array, Array]],
    start: Array,
    delta: float,
    weights: Array,
    penalty: Quadratic,
) -> Minimum:
    point, damping, quiet = np.asarray(start, dtype=np.float64), 1.0, 0
    residuals, jacobian = model(point)
    objective = float(weights @ huber(residuals, delta)) + penalty.value(point)
    if not np.isfinite(objective):
        return Minimum(point, np.inf, False, 1)
    for step in range(1, MOST_STEPS):
        slope, curvature = _expansion(residuals, jacobian, delta, weights, damping)
        move, promised = _step(slope + penalty.slope(point), curvature + np.diag(penalty.precision))
        trial = model(point + move)
        reached = float(weights @ huber(trial[0], delta)) + penalty.value(point + move)
        gain = objective - reached
        if np.isfinite(reached) and gain > 0:
            quiet = quiet + 1 if gain < 1e-13 * objective else 0
            point, objective, (residuals, jacobian) = point + move, reached, trial
            damping *= 0.2 if gain > 0.75 * promised else (1.0 if gain > 0.25 * promised else 3.0)
            damping = max(damping, 1e-6)
        else:
            damping *= 5.0
            quiet = quiet + 1 if promised < 1e-13 * objective else quiet
        if quiet >= 3 or damping > 1e14 or objective < 1e-30:
            return Minimum(point, objective, True, step)
    return Minimum(point, objective, False, MOST_STEPS)


def _expansion(
    residuals: Array, jacobian: Array, delta: float, weights: Array, damping: float
) -> tuple[Array, Array]:
    """Gradient and damped curvature of the data term."""
    size = np.abs(residuals)
    slope = jacobian.T @ (weights * np.clip(residuals, -delta, delta))
    spread = delta / np.maximum(size, delta) if np.isfinite(delta) else 1.0
    curvature = jacobian.T @ ((weights * ((size <= delta) + damping * spread))[:, None] * jacobian)
    return slope, curvature


def _step(slope: Array, curvature: Array) -> tuple[NDArray[Any], float]:
    """Newton move and the decrease its quadratic model promises."""
    diagonal = np.diag(curvature)
    curvature = curvature + np.diag(1e-12 * diagonal + 1e-300)
    try:
        move = -np.linalg.solve(curvature, slope)
    except np.linalg.LinAlgError:
        move = -slope / np.maximum(diagonal, 1e-300)
    return move, -float(slope @ move) - 0.5 * float(move @ curvature @ move)
