"""Marks for diverged points, so that an explosion is visible and never silently dropped."""

from __future__ import annotations

import numpy as np
import pandas as pd

RELATIVE_MARGIN = 0.1
"""Share of the first value by which a later value must exceed it."""

GAIN_MARGIN = 0.5
"""Share of the progress made so far that must be lost again on top of the start."""

USUAL = 0.25
"""Share of runs from which on rising is what the runs of a log do, as where all overfit."""

FEWEST_RUNS = 40
"""Runs of several points below which such a share may be chance."""

EXPLODED = 10.0
"""Multiple of the first value beyond which a point has diverged in any log."""


def risen_points(values: np.ndarray, codes: np.ndarray, goal: str) -> np.ndarray:
    """Points whose output is worse than the start of the run by a clear margin.

    With goal "min", a point after the first has risen when its value exceeds the run's first value by more
    than 10 % of that value's size plus half of the progress the run had made until then. A noisy start, or
    overfitting that costs less than all progress made, is none. Where outputs take both signs, their zero
    tells nothing: there the 10 % are at least the interquartile range of what has not risen above the start.
    With goal "max" scores are bounded below, so no finite point counts.

    Args:
        values: Output per point, grouped by run with the axis rising; NaN where missing.
        codes: Run of each point.
        goal: "min" or "max".

    Returns:
        One truth value per point.
    """
    if goal != "min":
        return np.zeros(values.shape, dtype=bool)
    groups = pd.Series(values).groupby(codes, sort=False)
    first = groups.transform("first").to_numpy()
    gain = (
        first
        - groups.ffill().groupby(codes, sort=False).cummin().groupby(codes, sort=False).shift(1).to_numpy()
    )
    margin = np.maximum(RELATIVE_MARGIN * np.abs(first), _spread(values, first))
    margin += GAIN_MARGIN * np.nan_to_num(gain)
    with np.errstate(invalid="ignore"):
        return values > first + margin


def diverged_points(values: np.ndarray, codes: np.ndarray, risen: np.ndarray) -> np.ndarray:
    """Points that have diverged: those that have risen.

    Where they do in a quarter of at least forty runs, they overfit, or begin after their best: only what
    exceeds ten times the start has diverged there (ten interquartile ranges, where outputs take both signs
    and these are larger).

    Args:
        values: Output per point, grouped by run with the axis rising; NaN where missing.
        codes: Run of each point.
        risen: Which points have risen; see `risen_points`.

    Returns:
        One truth value per point.
    """
    begun = int((np.unique(codes, return_counts=True)[1] > 1).sum())
    if begun < FEWEST_RUNS or len(np.unique(codes[risen])) < USUAL * begun:
        return risen
    first = pd.Series(values).groupby(codes, sort=False).transform("first").to_numpy()
    with np.errstate(invalid="ignore"):
        return risen & (values > EXPLODED * np.maximum(np.abs(first), _spread(values, first)))


def _spread(values: np.ndarray, first: np.ndarray) -> float:
    """Interquartile range of values that do not exceed their run's first one; zero where none is negative."""
    with np.errstate(invalid="ignore"):
        if not (values < 0).any():
            return 0.0
        calm = values[values <= first]
    lower, upper = np.percentile(calm, [25, 75]) if calm.size else (0.0, 0.0)
    return float(upper - lower)
