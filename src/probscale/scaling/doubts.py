"""What a reader of a frontier should doubt: scales that were not observed, and laws that do not fit."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from probscale.cost import CostModel
from probscale.errors import ExtrapolationWarning, MisfitWarning
from probscale.runs import RunLog
from probscale.scaling.candidates import Candidates
from probscale.scaling.law_posterior import LawPosterior, fit_laws
from probscale.scaling.optimum import OptimumPosterior

Array = NDArray[np.float64]

PASSED = 0.005
"""Share of the fall of a frontier by which the floor of its law may lie above its end."""

HALF = 5
"""Fewest levels of a half through which a law is fitted."""

TOLERATED = 1.05
"""Factor beyond the observed scales below which nothing is said."""


def warn_beyond(
    log: RunLog, found: Candidates, levels: Array, cost: CostModel, optimum: OptimumPosterior
) -> None:
    """Say how far compute, the pool's sizes and the lengths of the best runs lie beyond what was observed."""
    parts = []
    known = cost.spent(log)
    used = min(float(levels[-1]), float(found.cost.max()))
    factor = used / float(known.max())
    if factor > TOLERATED:
        parts.append(f"compute up to {used:.3g} is {factor:.3g} times that of the dearest observed run")
    size = log.roles.params
    if size is not None and size in found.pool:
        ratio = float(found.pool[size].max()) / float(log.configs[size].max())
        if ratio > TOLERATED:
            parts.append(
                f"{size} up to {float(found.pool[size].max()):.3g} is {ratio:.3g} times the largest observed"
            )
    longest = float(log.points[log.roles.axis].max())
    length = float(np.nanmax(optimum.axis.quantile(0.5)))
    if length > TOLERATED * longest:
        parts.append(
            f"the best runs are of up to {length:.3g} {log.roles.axis}, {length / longest:.3g} times the "
            "longest observed (until= ends runs earlier)"
        )
    if parts:
        warnings.warn(f"the frontier extrapolates: {'; '.join(parts)}", ExtrapolationWarning, stacklevel=3)


def warn_bent(law: LawPosterior, best: Array) -> bool:
    """Say where a law has a limit that is passed already: no law with a limit has that shape."""
    name = "ceiling" if law.rising else "floor"
    limit, reached = law.draws[name].values, best[:, np.isfinite(best[0])]
    end = reached.max(axis=1) if law.rising else reached.min(axis=1)
    passed = np.median((end - limit if law.rising else limit - end) - PASSED * np.ptp(reached, axis=1))
    bent = bool(passed > 1e-6 * np.abs(end).max())
    if bent:
        warnings.warn(
            f"the law of the frontier has a {name} of {np.median(limit):.4g}, but {np.median(end):.4g} is "
            "reached: no power law has this shape. Levels of compute at which runs are still in their first "
            "fall bend it so; begin `compute` at a higher one, or go by frontier.loss",
            MisfitWarning,
            stacklevel=4,
        )
    return bent


def halves_of(
    levels: Array, best: Array, goal: str, most: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """90 % intervals of the exponent in the lower and upper half of the levels, where they contradict.

    Args:
        levels: Levels of compute, (levels,).
        best: Draws of the frontier, (draws, levels); levels without a value are left out.
        goal: "min" or "max".
        most: Largest possible output.
    """
    kept = np.isfinite(best).all(axis=0)
    levels, best = levels[kept], best[:, kept]
    middle = len(levels) // 2
    if middle < HALF:
        return None
    parts = (slice(None, middle), slice(middle, None))
    low, high = (
        fit_laws(levels[part], best[:, part], goal=goal, most=most).interval(0.9)["exponent"]
        for part in parts
    )
    return (low, high) if low[0] > high[1] or high[0] > low[1] else None


def warn_misfit(law: LawPosterior, levels: Array, best: Array, cost: Array, most: float) -> None:
    """Say where a law does not describe its frontier, by the plainest sign of it.

    Args:
        law: The law.
        levels: Levels of compute, (levels,).
        best: Draws of the frontier, (draws, levels).
        cost: Compute of the points of the pool, zero where nothing is known.
        most: Largest possible output.
    """
    if not (warn_bent(law, best) | warn_level(levels, cost)):
        warn_halves(levels, best, "max" if law.rising else "min", most)


def warn_halves(levels: Array, best: Array, goal: str, most: float) -> None:
    """Say where a frontier is not one law: its halves have exponents that contradict each other."""
    found = halves_of(levels, best, goal, most)
    if found is not None:
        (a, b), (c, d) = found
        warnings.warn(
            f"the frontier bends: its exponent is {a:.3g} to {b:.3g} in the lower half of the levels of "
            f"compute and {c:.3g} to {d:.3g} in the upper half (90 %). No one power law goes through all; "
            "its interval holds for these levels only. Begin `compute` later, or widen the pool: sizes "
            "between and beyond its own, longer runs",
            MisfitWarning,
            stacklevel=4,
        )


def warn_bound(params: str) -> None:
    """Say that sizes or lengths bind the best at nearly all levels."""
    warnings.warn(
        f"at hardly any compute is the best run neither of the smallest or largest {params} nor at "
        "its end: the frontier follows what there is, and its exponent is that of these runs. Add smaller "
        "and larger sizes, or pass compute= where one law goes",
        MisfitWarning,
        stacklevel=4,
    )


def warn_level(levels: Array, cost: Array) -> bool:
    """Say where more can be spent than any run of the pool costs: no law describes a frontier that stands."""
    dearest = float(cost.max())
    beyond = int((levels > TOLERATED * dearest).sum())
    if beyond:
        warnings.warn(
            f"{beyond} of the {len(levels)} levels of compute are more than any run of the pool costs "
            f"({dearest:.3g}): the frontier stays level there, and its law follows. End `compute` at "
            f"{dearest:.3g}, or add longer or larger runs to the pool",
            MisfitWarning,
            stacklevel=4,
        )
    return beyond > 0
