"""Spread of a functional model beyond what was observed: larger sizes and level values left out in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.continuation import outlooks_of
from probscale.model.spread import Foretold, contaminated, fit_factors, foretold, together
from probscale.surrogate.functional import CONTAMINATION, FunctionalExpert
from probscale.surrogate.functional_calibration import judged_positions
from probscale.surrogate.functional_curves import Curves
from probscale.surrogate.functional_sizes import SizeFold
from probscale.surrogate.unseen import level_groups

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

SAY = 3.0
"""Runs that a fold counts for: those of one size share their bias."""

ASKED_VALUES, RUNS_OF_VALUE = 60, 10
"""Values of a level that are left out in turn, and runs of each that are asked for."""

SAY_OF_VALUE = 2.0
"""Runs that a value of a level counts for."""

PRIOR = 0.0
"""Prior mean of the log factor: that a law may bend where nothing was seen is said already."""


def beyond_factor(
    expert: FunctionalExpert, curves: Curves, residual: Array, level: Array, folds: Sequence[SizeFold]
) -> float:
    """Factor on the spread of whole curves of sizes beyond the observed ones.

    Args:
        expert: With its spread within the observed sizes.
        curves: What it was fitted to.
        residual: What is left of the curves without baseline and level, (points,).
        level: Guess of the end of each run, (runs,).
        folds: Larger sizes as smaller ones foretell them.
    """
    if expert.encoder.roles.params is None:
        return 1.0
    parts = []
    for fold in folds:
        rows = curves.rows.take(torch.from_numpy(fold.asked))
        moments = [state.marginals(rows) for state in fold.states]
        location, variance = (np.stack([part[i].numpy() for part in moments], axis=1) for i in range(2))
        location[:, 0] -= level[fold.asked]
        found = together(list(_foretold(expert, curves, residual, location, variance, fold.asked)))
        found = contaminated(found, *CONTAMINATION)
        parts.append(replace(found, say=found.say * SAY / found.say.sum()))
    if not parts:
        return float(np.exp(PRIOR))
    return float(np.exp(fit_factors(together(parts), centre=PRIOR)[0]))


def unseen_factor(
    expert: FunctionalExpert, curves: Curves, residual: Array, level: Array, generator: np.random.Generator
) -> float | None:
    """Factor on the spread of whole curves of level values that no run has had; see `unseen.unseen_scale`.

    Args:
        expert: With its spread within the observed values.
        curves: What it was fitted to.
        residual: What is left of the curves without baseline and level, (points,).
        level: Guess of the end of each run, (runs,).
        generator: Thins values with many runs.

    Returns:
        The factor; None without a level of three values.

    Cost: O(runs³) per score and level.
    """
    parts = []
    for groups, counts in level_groups(expert.scores.states[0]):
        location, variance = expert.scores.left_out(groups)
        location[:, 0] -= level
        for value in generator.permutation(len(counts))[:ASKED_VALUES]:
            asked = generator.permutation(np.flatnonzero(groups == value))[:RUNS_OF_VALUE]
            views = _foretold(expert, curves, residual, location[asked], variance[asked], asked)
            found = together(list(views))
            parts.append(replace(found, say=found.say * SAY_OF_VALUE / found.say.sum()))
    return float(np.exp(fit_factors(together(parts))[0])) if parts else None


def _foretold(
    expert: FunctionalExpert,
    curves: Curves,
    residual: Array,
    location: Array,
    variance: Array,
    asked: Positions,
) -> Iterator[Foretold]:
    """Asked runs as new ones, given the scores that are expected of them and their variances."""
    deviation = expert.scores.deviation()
    for i, run in enumerate(asked):
        where = np.flatnonzero(curves.codes == run)
        where = where[judged_positions(0, len(where))]
        v = curves.v[where]
        views = outlooks_of(expert.basis, expert.deviations, v, None, location[i], variance[i], deviation)
        length = curves.rows.progress[[run]].numpy()
        wide = expert.spread.factors(v[None], np.array([np.nan]), np.zeros(1), length)[0]
        yield foretold(views, residual[where], np.ones((len(where), 1)), wide)
