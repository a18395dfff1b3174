"""Spread of new points, learnt from leave-one-out residuals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from probscale.model.posterior import Tail

Array = NDArray[np.float64]

FEWEST = 20
"""Residuals from which on what follows observed beginnings has a scale of its own."""

LEAST_BEYOND = 1.05
"""Least factor of extrapolation of curves: one lucky fold is no licence for less."""


@dataclass(frozen=True)
class Beyond:
    """What is expected of forecasts beyond the observed sizes.

    Attributes:
        factor: Prior median of the factor on the spread.
        std: Prior standard deviation of its logarithm, beside a break.
        alone: The same where nothing breaks.
        least: Least factor.
        wide: Least share of forecasts that stray more, and least factor on their spread.
    """

    factor: float
    std: float
    alone: float
    least: float
    wide: tuple[float, float] = (0.0, 1.0)

    def outer(self, tail: Tail) -> Tail:
        """Spread beyond the observed sizes, without its factor, given that within."""
        share, spread = (
            np.maximum(own, least) for own, least in zip((tail.share, tail.spread), self.wide, strict=True)
        )
        return Tail(tail.scale, share, spread)


CURVES_BEYOND = Beyond(factor=1.0, std=0.8, alone=0.5, least=LEAST_BEYOND)

FINALS_BEYOND = Beyond(factor=0.82, std=0.4, alone=0.4, least=0.75, wide=(0.1, 4.0))
"""Laws of finals know what they do not know: most sets of larger sizes or longer runs lie well within what
they promise, a few far outside. Chosen by log density and interval score on 101 such sets of 13 sources."""

BREAK = 0.01
"""Usual standard deviation of a law's error per e-fold beyond the observed sizes, share of the loss: the most
probable of .005, .01 and .02 on the held-out sizes of 43 training sets."""

SHORT_BREAK = 0.02
"""The same for runs shorter, for their size, than any observed: of .02, .03, .045 and .07 the most probable
on the same sets."""

BREAK_STD = 0.7
"""Prior standard deviation of their logarithms."""

OPTIMISM = 0.15
"""Prior mean of the log scale with many groups: parameters were fitted on the residuals that judge them.

With few groups it rises by `FEW_CURVES` over their number, where no parameter counts, else by `FEW_FINALS`.
"""

FEW_CURVES, FEW_FINALS = 3.0, 1.0

SEEN = 0.05
"""What is added to the log scale where every parameter has seen the residuals that judge it."""

PER_PARAMETER = 0.5
"""What each fitted parameter adds to it, over the number of points.

On 200 runs of public logs, runs that no parameter had seen asked for .0 to .2 more than left-out runs, with
40 to 60 runs .3 to .6; priors hold parameters, so that each counts by half (12 logs, 72 fits).
"""

MOST_OPTIMISM, MOST_SEEN = 0.6, 0.45
"""Most of the prior mean, and most that parameters add. With 4 to 30 runs of eleven logs (180 fits) 90 %
intervals of further runs hold .79 to .93 with it, .59 to .79 without any such spread.
"""

WIDE_SHARE, WIDE_SPREAD = -1.5, 0.5
"""Prior means of the raw share and spread of wide runs: one of eleven, 2.6 times as wide."""

PRIOR_STDS = np.array([0.3, 1.0, 0.4])
"""Prior standard deviations of log scale, raw share and raw spread."""


def fit_tail(
    residual: Array,
    variance: Array,
    noise: Array,
    *,
    groups: int,
    parameters: int = 0,
    widest: float = math.inf,
) -> Tail:
    """Scale and contamination under which leave-one-out residuals are most likely.

    Each residual follows (1 - share) N(0, scale²(v + s²)) + share N(0, scale² spread² (v + s²)), with weak
    priors that decide when there are few points.

    Args:
        residual: Leave-one-out residuals on the modelled scale, (points,).
        variance: Their latent variances, (points,).
        noise: Noise variances at full weight, (points,).
        groups: Number of groups whose residuals are alike; they count as about two points each.
        parameters: Number of parameters fitted on the points; zero: points that taught none.
        widest: Largest factor on the spread of wide runs.

    Returns:
        The fitted tail; few residuals leave it near what is usual.
    """
    finite = np.isfinite(residual) & (variance + noise > 0)
    residual, variance, noise = residual[finite], variance[finite], noise[finite]

    few = FEW_FINALS if parameters else FEW_CURVES
    optimism = min(OPTIMISM + few / max(groups, 1), MOST_OPTIMISM)
    temper = min(1.0, 2.0 * groups / max(len(residual), 1))
    start = np.array([optimism, WIDE_SHARE, WIDE_SPREAD])

    def objective(p: Array) -> float:
        scale, share, spread = _natural(p, widest)
        density = _density(residual, scale**2 * (variance + noise), share, spread)
        apart = (p - start) / PRIOR_STDS
        prior = float(apart @ apart)
        return -temper * float(np.log(np.maximum(density, 1e-300)).sum()) + 0.5 * prior

    best = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 400})
    scale, share, spread = _natural(best.x, widest)
    # The scale itself is uncertain: half a standard error more keeps intervals honest with few groups.
    error = 1 / math.sqrt(2 * temper * len(residual) + 1 / 0.3**2)
    seen = min(SEEN + PER_PARAMETER * parameters / max(len(residual), 1), MOST_SEEN) if parameters else 0.0
    return Tail(scale * math.exp(0.5 * error + seen), share, spread)


def fit_beyond(
    residual: Array,
    variance: Array,
    noise: Array,
    tail: Tail,
    *,
    folds: int,
    weights: Array | None = None,
    expected: Beyond = CURVES_BEYOND,
) -> float:
    """Factor on the spread for extrapolation in scale, from folds that leave the largest sizes out.

    Residuals of one fold share their bias, so a fold counts as about three points; the prior keeps the factor
    near one.

    Args:
        residual: Residuals of the held-out sizes on the modelled scale, (points,).
        variance: Their latent variances.
        noise: Their noise variances.
        tail: Spread within the observed scales.
        folds: Number of sizes held out in turn.
        weights: Say of each point, (points,); equal by default.
        expected: What is expected of the factor.

    Returns:
        The factor, at least the least expected.
    """
    if not len(residual):
        return max(expected.least, expected.factor)
    tail, base = expected.outer(tail), float(np.mean(tail.scale))
    usual = math.log(expected.factor)

    def objective(log_factor: float) -> float:
        scale = base * math.exp(log_factor)
        density = _density(residual, scale**2 * (variance + noise), tail.share, tail.spread)
        loss = -float(np.average(np.log(np.maximum(density, 1e-300)), weights=weights))
        return 3.0 * folds * loss + 0.5 * ((log_factor - usual) / expected.alone) ** 2

    best: Any = minimize_scalar(objective, bounds=(-1.0, 3.0), method="bounded")
    return max(expected.least, math.exp(float(best.x)))


def fit_break(
    residual: Array,
    variance: Array,
    noise: Array,
    squared: Array,
    tail: Tail,
    *,
    folds: int,
    weights: Array | None = None,
    expected: Beyond = CURVES_BEYOND,
) -> tuple[float, float, float]:
    """Factor as in `fit_beyond`, and how far a law strays per e-fold beyond the observed sizes.

    A law that fits all it has seen can still bend where nothing was seen: an error that grows with the
    distance, which no factor on a small spread makes up for. Runs shorter, for their size, than any observed
    may not have come to follow the law at all.

    Args:
        residual: Residuals of the held-out sizes on the modelled scale, (points,).
        variance: Their latent variances.
        noise: Their noise variances.
        squared: Their squared e-folds beyond the largest that had been seen, and below the shortest for their
            size, (points, 2).
        tail: Spread within the observed scales.
        folds: Number of sizes held out in turn.
        weights: Say of each point, (points,); equal by default.
        expected: What is expected of the factor.

    Returns:
        The factor, at least the least expected, and the standard deviations of the breaks per e-fold, beyond
        the largest and below the shortest, before this factor and the tail's scale.
    """
    tail, base = expected.outer(tail), float(np.mean(tail.scale))
    usual = math.log(expected.factor)
    start = np.array([usual, math.log(BREAK), math.log(SHORT_BREAK)])
    stds = np.array([expected.std, BREAK_STD, BREAK_STD])

    def objective(p: Array) -> float:
        scale, stray = base * math.exp(p[0]), squared @ np.exp(2 * p[1:])
        narrow = scale**2 * (variance + noise) + stray
        wide = (scale * tail.spread) ** 2 * (variance + noise) + stray
        density = (1 - tail.share) * _normal(residual, narrow) + tail.share * _normal(residual, wide)
        loss = -float(np.average(np.log(np.maximum(density, 1e-300)), weights=weights))
        return 3.0 * folds * loss + 0.5 * float(np.square((p - start) / stds).sum())

    best = start
    if len(residual):
        best = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 600}).x
    factor = max(expected.least, math.exp(best[0]))
    slope, short = np.exp(best[1:]) / (base * factor)
    return factor, float(slope), float(short)


def fit_continuation(residual: Array, variance: Array, noise: Array, tail: Tail, *, runs: int) -> float:
    """Scale on the spread of what follows an observed beginning, in place of those of new runs.

    Args:
        residual: Residuals of the rest of runs whose beginning stayed in, on the modelled scale, (points,).
        variance: Their latent variances.
        noise: Their noise variances.
        tail: Spread of new runs; its share and spread of wide runs are kept.
        runs: Number of runs; points of one run are alike and count as about two.

    Returns:
        The scale; that of `tail` for fewer than 20 points.
    """
    finite = np.isfinite(residual) & (variance + noise > 0)
    residual, variance, noise = residual[finite], variance[finite], noise[finite]
    if len(residual) < FEWEST:
        return float(np.mean(tail.scale))
    temper = min(1.0, 2.0 * runs / len(residual))

    def objective(log_scale: float) -> float:
        scale = math.exp(log_scale)
        density = _density(residual, scale**2 * (variance + noise), tail.share, tail.spread)
        loss = -temper * float(np.log(np.maximum(density, 1e-300)).sum())
        return loss + 0.5 * ((log_scale - OPTIMISM) / 0.3) ** 2

    best: Any = minimize_scalar(objective, bounds=(-1.5, 2.0), method="bounded")
    error = 1 / math.sqrt(2 * temper * len(residual) + 1 / 0.3**2)
    return math.exp(float(best.x) + 0.5 * error)


def fit_unseen(residual: Array, variance: Array, noise: Array, share: Array, tail: Tail) -> float:
    """Scale on the spread of values of a level that no run has had, in place of those within known ones.

    Points of one value share its deviation, so that a value counts as about two of them.

    Args:
        residual: Residuals of values left out in turn, on the modelled scale, (points,).
        variance: Their latent variances.
        noise: Their noise variances.
        share: Say of each point, adding up to one for each value, (points,).
        tail: Spread within known values; its share and spread of wide runs are kept.
    """
    finite = np.isfinite(residual) & (variance + noise > 0)
    residual, variance, noise, share = (part[finite] for part in (residual, variance, noise, share))

    def objective(log_scale: float) -> float:
        scale = math.exp(log_scale)
        density = _density(residual, scale**2 * (variance + noise), tail.share, tail.spread)
        loss = -2.0 * float(share @ np.log(np.maximum(density, 1e-300)))
        return loss + 0.5 * ((log_scale - OPTIMISM) / 0.3) ** 2

    best: Any = minimize_scalar(objective, bounds=(-1.5, 2.0), method="bounded")
    error = 1 / math.sqrt(4 * float(share.sum()) + 1 / 0.3**2)
    return math.exp(float(best.x) + 0.5 * error)


def _natural(p: Array, widest: float) -> tuple[float, float, float]:
    return math.exp(p[0]), 0.5 / (1 + math.exp(-p[1])), min(1 + math.exp(p[2]), widest)


def _density(residual: Array, variance: Array, share: float | Array, spread: float | Array) -> Array:
    """Density of residuals of which some are wider, (points,)."""
    return (1 - share) * _normal(residual, variance) + share * _normal(residual, spread**2 * variance)


def _normal(residual: Array, variance: Array) -> Array:
    return np.exp(-0.5 * residual**2 / variance) / np.sqrt(2 * np.pi * variance)
