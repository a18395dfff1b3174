"""Baseline of curves: how a configuration's curve comes down to its end, as a robust linear model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from probscale.model.robust import STD_PER_MEDIAN

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

SPLINES = 10
"""Hat functions of progress."""

_TURN = 1.345
"""Robust standard deviations at which squares turn into absolute values: Huber 1981, efficiency 95 % for
normal errors."""

_RIDGE = 0.03
"""Ridge, as a share of the diagonal of the normal equations."""

_ROUNDS = 4
"""Reweighting rounds of the Huber loss."""


@dataclass(frozen=True)
class Baseline:
    """Shape of curves relative to their end, linear in functions of progress and configuration.

    Attributes:
        knots: Centres of the hat functions of progress, (hats,).
        times: Time constants of early transients, axis units, (transients,).
        coefficients: One per column of the design, (columns,).
        marks: Axis values that many runs share, ascending, (marks,).
        effects: What all runs have in common there, (marks,); see `sharing`.
    """

    knots: Array
    times: Array
    coefficients: Array
    marks: Array = field(default_factory=lambda: np.empty(0))
    effects: Array = field(default_factory=lambda: np.empty(0))

    def design(
        self, v: Array, at: Array, z: Array, bend: Array | None = None, warmth: Array | None = None
    ) -> Array:
        """Columns at points: functions of progress, alone and times each coordinate, (points, columns).

        Args:
            v: Progress, (points,).
            at: Axis values, (points,).
            z: Coordinates of the configuration of each point, (points, coordinates).
            bend: How far the learning rate has come down, (points,); None where schedules are not known.
            warmth: What the warm-up does, (points, effects); None where it is not known.
        """
        return _design(self.knots, self.times, Points(v, at, z, bend, warmth))

    def shape(self, points: Points, ends: Points) -> Array:
        """Modelled value minus that at the reference end of the same run, and what runs share, (points,)."""
        return (self.design(*points) - self.design(*ends)) @ self.coefficients + self.shared_at(points.at)

    def shared_at(self, at: Array) -> Array:
        """What all runs have in common at axis values, zero but at the marks, (points,)."""
        if not len(self.marks):
            return np.zeros(len(at))
        place = np.searchsorted(self.marks, at).clip(0, len(self.marks) - 1)
        return np.where(self.marks[place] == at, self.effects[place], 0.0)


class Points(NamedTuple):
    """Points of curves as `Baseline.design` takes them."""

    v: Array
    at: Array
    z: Array
    bend: Array | None = None
    warmth: Array | None = None


def _design(knots: Array, times: Array, points: Points) -> Array:
    v, at, z, bend, warmth = points
    position = np.interp(v, knots, np.arange(len(knots)))
    hats = np.maximum(1 - np.abs(position[:, None] - np.arange(len(knots))[None]), 0.0)
    parts = [hats, v[:, None], np.exp(-at[:, None] / times)]
    if bend is not None:
        parts.append(bend[:, None])
    if warmth is not None:
        parts.append(warmth)
    functions = np.concatenate(parts, axis=1)
    products = (functions[:, :, None] * np.clip(z, -4, 4)[:, None, :]).reshape(len(v), -1)
    return np.concatenate([functions, products], axis=1)


def fit_baseline(points: Points, y: Array, codes: Positions) -> Baseline:
    """Fit shapes within runs: what a run's level is does not matter.

    Args:
        points: Progress, axis values, standardised coordinates, bend and warmth of each point.
        y: Modelled values, (points,).
        codes: Run of each point, (points,), from zero.

    Cost: O(points × columns²).

    Source: ridge regression with fixed effects of runs; Huber weights by iterated least squares.
    """
    v, at = points.v, points.at
    knots = np.unique(np.quantile(v, np.linspace(0, 1, SPLINES)))
    if len(knots) < 2:
        knots = np.array([float(v.min()), float(v.min()) + 1.0])
    first = float(np.quantile(at, 0.02)) or float(at[at > 0].min())
    times = np.array([1.0, 3.0, 9.0]) * first
    columns = _design(knots, times, points)
    counts = np.bincount(codes)
    weight = 1 / np.sqrt(counts[codes])
    mass = np.bincount(codes, weight)
    robust = np.ones_like(y)
    coefficients: Array = np.zeros(columns.shape[1])
    for _ in range(_ROUNDS):
        w = weight * robust
        total = np.maximum(np.bincount(codes, w), 1e-300)
        level = (np.bincount(codes, w * y) / total)[codes]
        centre = np.stack([np.bincount(codes, w * c) / total for c in columns.T], axis=1)[codes]
        within, target = columns - centre, y - level
        gram = within.T @ (w[:, None] * within)
        scale = gram.diagonal()
        ridge = _RIDGE * np.maximum(np.sort(scale)[len(scale) // 2], scale) + 1e-9 * mass.sum()
        coefficients = np.asarray(np.linalg.solve(gram + np.diag(ridge), within.T @ (w * target)), np.float64)
        left = target - within @ coefficients
        spread = STD_PER_MEDIAN * float(np.median(np.abs(left))) + 1e-9
        robust = np.minimum(1.0, _TURN * spread / np.maximum(np.abs(left), 1e-300))
    return Baseline(knots, times, coefficients)
