"""What a reader of a frontier should doubt: scales that were not observed, and laws that do not fit."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from probscale.cost import CostModel
from probscale.errors import ExtrapolationWarning, MisfitWarning
from probscale.runs import RunLog
from probscale.scaling.candidates import Candidates
from probscale.scaling.law_posterior import LawPosterior
from probscale.scaling.optimum import OptimumPosterior

Array = NDArray[np.float64]

PASSED = 0.005
"""Share of the fall of a frontier by which the floor of its law may lie above its end."""

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


def warn_bent(law: LawPosterior, best: Array) -> None:
    """Say where a law has a limit that is passed already: no law with a limit has that shape."""
    name = "ceiling" if law.rising else "floor"
    limit, reached = law.draws[name].values, best[:, np.isfinite(best[0])]
    end = reached.max(axis=1) if law.rising else reached.min(axis=1)
    passed = np.median((end - limit if law.rising else limit - end) - PASSED * np.ptp(reached, axis=1))
    if passed > 1e-6 * np.abs(end).max():
        warnings.warn(
            f"the law of the frontier has a {name} of {np.median(limit):.4g}, but {np.median(end):.4g} is "
            "reached: no power law has this shape. Levels of compute at which runs are still in their first "
            "fall bend it so; begin `compute` at a higher one, or go by frontier.loss",
            MisfitWarning,
            stacklevel=3,
        )


def warn_level(levels: Array, cost: Array) -> None:
    """Say where more can be spent than any run of the pool costs: no law describes a frontier that stands."""
    dearest = float(cost.max())
    beyond = int((levels > TOLERATED * dearest).sum())
    if beyond:
        warnings.warn(
            f"{beyond} of the {len(levels)} levels of compute are more than any run of the pool costs "
            f"({dearest:.3g}): the frontier stays level there, and its law follows. End `compute` at "
            f"{dearest:.3g}, or add longer or larger runs to the pool",
            MisfitWarning,
            stacklevel=3,
        )
