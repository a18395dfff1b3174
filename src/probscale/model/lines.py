"""Straight lines of an axis coordinate whose level and slope are normal."""

from __future__ import annotations

from torch import Tensor


def line_covariance(lines: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Covariance of the values of lines at two coordinates, in the shape to which the arguments broadcast.

    Args:
        lines: Variance of the level at coordinate zero, its covariance with the slope, and variance of the
            slope, (…, 3).
        first: Coordinates, (…).
        second: Coordinates, (…).
    """
    level, both, slope = lines.unbind(-1)
    return level + both * (first + second) + slope * first * second
