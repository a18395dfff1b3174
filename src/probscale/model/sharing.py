"""What runs have in common at an axis value: reading data in one order, they meet hard batches together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.model.basis import Basis, scores_of
from probscale.model.robust import STD_PER_MEDIAN

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

FEWEST = 30
"""Points at an axis value from which on it can have an effect: nanochat has 91 on the median. A dozen are of
like configurations (NCPL), whose own deviation they share: its validation split had 3 % larger errors."""

FEWEST_VALUES = 30
"""Such axis values that a log must have: of fewer one cannot tell whether they differ by more than chance."""

CLIP = 5.0
"""Robust standard deviations at which what is left of a point is cut."""

LEAST = 0.05
"""Variance of effects, as a share of what is left of single points, from which on they are worth having:
nanochat .27, LCBench .02."""

SURE = 3.0
"""Standard deviations by which means at axis values must differ more than chance lets them."""


SWEEPS = 3
"""Sweeps between the scores of runs and the effects of axis values."""


def fit_shared(basis: Basis, v: Array, residual: Array, codes: Positions, at: Array) -> tuple[Array, Array]:
    """Axis values that many runs share, and effects of them beyond the functions of a basis.

    Args:
        basis: Basis functions.
        v: Progress of each point, (points,).
        residual: Curves without their baseline, (points,).
        codes: Run of each point, (points,), from zero.
        at: Axis value of each point, (points,).

    Returns:
        Axis values, ascending, and their effects, (values,); none where they are no larger than chance.

    Cost: O(points × functions²).

    Source: a random effect per axis value, its variance by moments, e.g. Searle, Casella and McCulloch 1992.
    """
    values, place, counts = np.unique(at, return_inverse=True, return_counts=True)
    often = counts >= FEWEST
    effect = np.zeros(len(values))
    if often.sum() < FEWEST_VALUES:
        return np.empty(0), np.empty(0)
    design = basis.at(v)
    for _ in range(SWEEPS):
        scores = scores_of(basis, v, residual - effect[place], codes)
        left = residual - (design * scores[codes]).sum(1)
        limit = CLIP * STD_PER_MEDIAN * float(np.median(np.abs(left)))
        effect, beyond_chance = _effects(np.clip(left, -limit, limit), place, counts, often)
        if not beyond_chance:
            return np.empty(0), np.empty(0)
    return values[often], effect[often]


def _effects(
    left: Array, place: Positions, counts: Positions, often: NDArray[np.bool_]
) -> tuple[Array, bool]:
    """Shrunk means at axis values, and whether they differ by more than chance."""
    mean = np.bincount(place, left) / counts
    inside = often[place]
    within = float(((left - mean[place])[inside] ** 2).sum()) / max(float((counts[often] - 1).sum()), 1.0)
    ratio = float(np.mean(counts[often] * mean[often] ** 2)) / max(within, 1e-300)
    square = mean[often] ** 2 - within / counts[often]
    variance = max(float(np.average(square, weights=counts[often])), 0.0)
    effect = np.where(often, mean * variance / np.maximum(variance + within / counts, 1e-300), 0.0)
    return effect, ratio > 1 + SURE * np.sqrt(2 / often.sum()) and variance > LEAST * within
