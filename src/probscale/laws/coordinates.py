"""Unbounded coordinates for bounded parameters, so that every fit is unconstrained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

__all__ = ["Coordinates"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coordinates:
    """Logarithm of a parameter bounded below, logit of one bounded on both sides, otherwise itself.

    Attributes:
        names: Free parameters, in order.
        bounds: Open range of each.
        fixed: Values of the parameters that are held.
    """

    names: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]
    fixed: Mapping[str, float]

    @staticmethod
    def of(
        names: Sequence[str], bounds: Mapping[str, tuple[float, float]], fixed: Mapping[str, float]
    ) -> Coordinates:
        """Coordinates of the parameters that are not fixed."""
        free = tuple(name for name in names if name not in fixed)
        return Coordinates(free, tuple(bounds[name] for name in free), dict(fixed))

    def point(self, values: Mapping[str, float]) -> Array:
        """Coordinates of given values."""
        return np.array([_forward(values[n], *b) for n, b in zip(self.names, self.bounds, strict=True)])

    def values(self, point: Array) -> dict[str, float]:
        """Values at given coordinates, fixed ones included."""
        free = {n: _backward(float(u), *b) for n, u, b in zip(self.names, point, self.bounds, strict=True)}
        return {**self.fixed, **free}

    def slopes(self, values: Mapping[str, float]) -> Array:
        """Derivative of each value by its coordinate."""
        return np.array([_slope(values[n], *b) for n, b in zip(self.names, self.bounds, strict=True)])


def _forward(value: float, lower: float, upper: float) -> float:
    if math.isfinite(lower) and math.isfinite(upper):
        return float(logit((value - lower) / (upper - lower)))
    if math.isfinite(lower):
        return float(np.log(value - lower))
    return float(value)


def _backward(u: float, lower: float, upper: float) -> float:
    # Clipped so that no value rounds onto its bound and products of a few stay finite.
    if math.isfinite(lower) and math.isfinite(upper):
        return lower + (upper - lower) * float(expit(min(max(u, -30.0), 30.0)))
    if math.isfinite(lower):
        return lower + math.exp(min(max(u, -230.0), 230.0))
    return u


def _slope(value: float, lower: float, upper: float) -> float:
    if math.isfinite(lower) and math.isfinite(upper):
        return (value - lower) * (upper - value) / (upper - lower)
    if math.isfinite(lower):
        return value - lower
    return 1.0
