"""Levels of compute of a frontier that is given none: those at which its law shows."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.cost import CostModel
from probscale.envelope import best_of
from probscale.errors import ConfigError
from probscale.runs import RunLog
from probscale.scaling.doubts import halves_of, warn_bound
from probscale.scaling.drawing import DrawnCurves, drawn_curves
from probscale.surrogate import CurveSurrogate

Array = NDArray[np.float64]

LEVELS, DECADES = 40, 2.0
"""Levels of compute by default, and how far below the dearest run they begin."""

SUPPORTED_DECADES = 3.0
"""The same where neither sizes nor lengths of runs bind the best."""

TRIED, DRAWN = 24, 64
"""Levels at which it is asked what binds the best, and joint draws for that."""

BOUND = 0.1
"""Share of draws in which the best may lie at an end of what there is."""

NARROWEST = 3.0
"""Least factor between the first and the last level of a law."""

KEPT, ENOUGH = 0.75, 10.0
"""Share of the decades that stay where halves contradict each other, and the least factor that stays."""


def spanned_levels(log: RunLog, cost: CostModel, count: int, decades: float = np.inf) -> Array:
    """Levels of compute from where the first run begins to what the dearest has spent.

    Raises:
        ConfigError: if all of them cost the same.
    """
    first = log.points.groupby(log.roles.run, sort=False)[log.roles.axis].first().reindex(log.configs.index)
    begin = cost.increment(log.configs.reset_index(names=log.roles.run), 0.0, first.to_numpy())
    high = float(cost.spent(log).max())
    low = max(high * 10**-decades, float(begin[begin > 0].min(initial=high)))
    if low >= high:
        raise ConfigError("the runs of the log cover a single amount of compute; pass compute=")
    return np.geomspace(low, high, count)


def observed_levels(log: RunLog, cost: CostModel) -> Array:
    """Levels of compute that the runs of a log cover.

    Raises:
        ConfigError: if all of them cost the same.
    """
    return spanned_levels(log, cost, LEVELS, DECADES)


def law_levels(
    surrogate: CurveSurrogate, pool: pd.DataFrame, cost: CostModel, longest: float, seed: int
) -> Array | None:
    """Levels of compute through which a pool's frontier follows one law; None where there are too few.

    Neither the smallest or largest size nor the end of a run binds the best there, and the laws of their
    lower and upper half do not contradict each other.

    Args:
        surrogate: What knows the curves.
        pool: Configurations, with sizes.
        cost: Cost model.
        longest: Axis value at which runs end.
        seed: Seed of the draws.

    Warns:
        MisfitWarning: if there are too few.
    """
    goal, tried = surrogate.log.roles.goal, spanned_levels(surrogate.log, cost, TRIED)
    drawn = drawn_curves(surrogate, pool, cost, tried, longest, DRAWN, seed)
    stretch = longest_stretch(tried, unbound(drawn, tried, str(surrogate.log.roles.params), goal))
    if stretch is None:
        warn_bound(str(surrogate.log.roles.params))
        return None
    low, high = max(stretch[0], stretch[1] * 10**-SUPPORTED_DECADES), stretch[1]
    while True:
        levels = np.geomspace(low, high, LEVELS)
        drawn = drawn_curves(surrogate, pool, cost, levels, longest, DRAWN, seed)
        best = best_of(drawn.at(levels), goal)[0]
        shorter = high * (low / high) ** KEPT
        if high < ENOUGH * shorter or halves_of(levels, best, goal, drawn.bounds[1]) is None:
            return levels
        low = shorter


def spread_out(levels: Array, observed: Array) -> Array:
    """Levels that go on at their own steps until they hold all observed ones.

    >>> spread_out(np.array([10.0, 100.0]), np.array([3.0, 2000.0])).round().tolist()
    [3.0, 10.0, 100.0, 447.0, 2000.0]
    """
    low, high = levels[0], levels[-1]
    step = np.log(levels[1] / low)
    before = max(math.ceil(np.log(low / observed[0]) / step - 1e-6), 0)
    after = max(math.ceil(np.log(observed[-1] / high) / step - 1e-6), 0)
    first = np.geomspace(min(observed[0], low), low, before + 1)[:-1]
    last = np.geomspace(high, max(observed[-1], high), after + 1)[1:]
    return np.concatenate([first, levels, last])


def unbound(drawn: DrawnCurves, levels: Array, params: str, goal: str) -> NDArray[np.bool_]:
    """Levels at which neither the pool's sizes nor the lengths of its runs bind the best, (levels,).

    The best of a pool follows the law of all sizes and lengths only while both smaller and larger sizes could
    have been had for the same compute.

    Args:
        drawn: Curves of the pool.
        levels: Levels of compute, rising.
        params: Column of the model size.
        goal: "min" or "max".
    """
    sizes = drawn.found.pool[params].to_numpy(dtype=np.float64)
    chosen = sizes[best_of(drawn.at(levels), goal)[1]]
    begin = np.where(drawn.begun, drawn.found.cost, np.inf).min(axis=1, keepdims=True)
    free = (begin <= levels) & (drawn.spent[:, -1:] * (1 + 1e-9) >= levels)
    least, most = (np.where(free, sizes[:, None], end) for end in (np.inf, -np.inf))
    bound = (chosen <= least.min(axis=0) * (1 + 1e-9)) | (chosen >= most.max(axis=0) * (1 - 1e-9))
    return bound.mean(axis=0) <= BOUND


def longest_stretch(levels: Array, kept: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Ends of the longest stretch of levels that are kept, but for single ones; None if it is too short."""
    closed = kept.copy()
    closed[1:-1] |= kept[:-2] & kept[2:]
    edges = np.flatnonzero(np.diff(np.r_[False, closed, False].astype(int)))
    if not len(edges):
        return None
    starts, ends = edges[::2], edges[1::2] - 1
    widest = int((ends - starts).argmax())
    low, high = float(levels[starts[widest]]), float(levels[ends[widest]])
    return (low, high) if high >= NARROWEST * low else None
