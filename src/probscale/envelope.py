"""Best value of a family of curves at each cost: the arithmetic that frontiers and designs share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where each curve of a family meets each cost.

    Attributes:
        left: Point of the curve at or before the cost, (curves, costs).
        share: Weight of the next point, (curves, costs); between two points curves are interpolated.
        reachable: Whether the curve has begun by that cost, (curves, costs).
        points: Number of points of each curve.
    """

    left: NDArray[np.intp]
    share: Array
    reachable: NDArray[np.bool_]
    points: int

    @property
    def right(self) -> NDArray[np.intp]:
        """Point after `left`; the last point is its own successor."""
        return np.minimum(self.left + 1, self.points - 1)

    def at(self, values: Array) -> Array:
        """Values of curves at the costs, NaN where a curve has not begun.

        Args:
            values: Curves, (..., curves, points).

        Returns:
            Shape (..., curves, costs).
        """
        values = np.asarray(values, dtype=np.float64)
        # Gathered from one axis of (curves × points), several times as fast as along each curve.
        flat = values.reshape(*values.shape[:-2], -1)
        first = np.arange(len(self.left))[:, None] * self.points
        if np.isin(self.share, (0.0, 1.0)).all():
            found = np.take(flat, first + np.where(self.share == 1.0, self.right, self.left), axis=-1)
        else:
            left, right = (np.take(flat, first + place, axis=-1) for place in (self.left, self.right))
            found = left + self.share * (right - left)
        return found if self.reachable.all() else np.where(self.reachable, found, np.nan)

    def spread(self, weights: Array) -> Array:
        """Weights given to curves at costs, moved to the points they are interpolated from.

        Args:
            weights: Shape (curves, costs).

        Returns:
            Shape (curves, points); sums are kept. The transpose of `at`.
        """
        out = np.zeros((len(weights), self.points))
        rows = np.broadcast_to(np.arange(len(weights))[:, None], self.left.shape)
        weights = np.where(self.reachable, weights, 0.0)
        np.add.at(out, (rows, self.left), weights * (1 - self.share))
        np.add.at(out, (rows, self.right), weights * self.share)
        return out


def given_levels(compute: ArrayLike) -> Array:
    """Levels of compute as a user gives them, (levels,).

    Raises:
        ConfigError: unless they are positive, finite numbers, at least one.
    """
    try:
        levels = np.atleast_1d(np.asarray(compute, dtype=np.float64))
    except (TypeError, ValueError):
        levels = np.empty(0)
    if levels.ndim != 1 or not len(levels) or not (np.isfinite(levels) & (levels > 0)).all():
        raise ConfigError("compute must hold positive levels of cost, such as np.geomspace(1e18, 1e20, 50)")
    return levels


def crossings(cost: Array, levels: ArrayLike, *, nearest: bool = False) -> Crossings:
    """Where curves meet given costs; interpolation is linear in the logarithm of the cost.

    Beyond its last point a curve keeps its last value: a larger budget can always be left unspent.

    Args:
        cost: Cumulative cost of each point, (curves, points), positive and rising along each curve.
        levels: Costs asked for, (costs,).
        nearest: Take the point of nearest cost instead, even before the curve begins.

    Cost: O(curves × costs × log points).
    """
    known, asked = np.log(cost), np.log(np.asarray(levels, dtype=np.float64))
    count, points = known.shape
    after = np.stack([np.searchsorted(row, asked + 1e-12, side="right") for row in known])
    left = np.clip(after - 1, 0, points - 1)
    right = np.minimum(left + 1, points - 1)
    rows = np.arange(count)[:, None]
    gap = known[rows, right] - known[rows, left]
    share = np.where(gap > 0, (asked - known[rows, left]) / np.where(gap > 0, gap, 1.0), 0.0)
    share = np.clip(share, 0.0, 1.0)
    if nearest:
        middle = 0.5 * (cost[rows, left] + cost[rows, right])
        share = (np.exp(asked) > middle).astype(np.float64)
        return Crossings(left, share, np.ones_like(left, dtype=bool), points)
    return Crossings(left, share, after > 0, points)


def best_of(values: Array, goal: str = "min") -> tuple[Array, NDArray[np.intp]]:
    """Best value over curves at each cost, and the curve that has it.

    Args:
        values: Shape (..., curves, costs), NaN where a curve has no value.
        goal: "min" or "max".

    Returns:
        Best values, NaN where no curve has one, and positions, both (..., costs).
    """
    sign = 1.0 if goal == "min" else -1.0
    comparable = sign * values
    comparable[np.isnan(comparable)] = np.inf
    position = comparable.argmin(axis=-2)
    best = np.take_along_axis(comparable, position[..., None, :], -2)[..., 0, :]
    return np.where(np.isinf(best), np.nan, sign * best), position


def line_through(x: Array, y: Array) -> tuple[Array, Array]:
    """Slope and intercept of least-squares lines.

    Args:
        x: Shape (points,).
        y: Shape (..., points).
    """
    centred = x - x.mean()
    # From the first point, so that a constant has a slope of zero, not of rounding.
    slope = (y - y[..., :1]) @ centred / (centred @ centred)
    return slope, y.mean(axis=-1) - slope * x.mean()


def area_between(first: tuple[float, float], second: tuple[float, float], span: tuple[float, float]) -> float:
    """Exact area between two lines, each (slope, intercept), over an interval of x."""
    slope, level = first[0] - second[0], first[1] - second[1]
    low, high = span
    start, end = level + slope * low, level + slope * high
    if start * end >= 0:
        return abs(start + end) / 2 * (high - low)
    cross = low + (high - low) * abs(start) / (abs(start) + abs(end))
    return abs(start) / 2 * (cross - low) + abs(end) / 2 * (high - cross)
