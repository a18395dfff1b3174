"""Spread of a functional model beyond what was observed: larger sizes and level values left out in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.continuation import outlooks_of
from probscale.model.exact import ExactState, solve_exactly
from probscale.model.spread import Foretold, fit_factors, foretold, together
from probscale.surrogate.extrapolation import MOST_LEARNT, scale_folds
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.functional_calibration import judged_positions
from probscale.surrogate.functional_curves import Curves
from probscale.surrogate.prepare import Prepared, choose_subset
from probscale.surrogate.unseen import level_groups

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

ASKED_RUNS = 60
SAY = 3.0
"""Runs that a fold counts for: those of one size share their bias."""

ASKED_VALUES = 60
RUNS_OF_VALUE = 10
SAY_OF_VALUE = 2.0
"""Runs that a value of a level counts for."""

PRIOR = 0.1
"""Prior mean of the log factor: a law may bend where nothing was seen."""

SHARP = 0.3
"""Weight of a run's end from which on it is known."""


def beyond_factor(
    expert: FunctionalExpert,
    curves: Curves,
    residual: Array,
    level: Array,
    fit: Callable[[Prepared], ExactState],
    generator: np.random.Generator,
) -> float:
    """Factor on the spread of whole curves of sizes beyond the observed ones; see `extrapolation`.

    Each fold predicts curves of larger sizes from smaller ones. The process of the ends is fitted anew,
    parameters included; the others keep theirs and forget the larger sizes.

    Args:
        expert: With its spread within the observed sizes.
        curves: What it was fitted to.
        residual: What is left of the curves without baseline and level, (points,).
        level: Guess of the end of each run, (runs,).
        fit: Fits all parameters of a process of ends.
        generator: Thins large folds.

    Cost: three fits of at most 250 points, and solves of the other scores for as many.
    """
    if expert.encoder.roles.params is None:
        return 1.0
    ends = expert.scores.states[0].data
    sharp = np.flatnonzero(ends.weight.numpy() > SHARP)
    size = ends.rows.size.numpy()
    parts = []
    for smaller, larger in scale_folds(size[sharp]):
        learnt = choose_subset(smaller, MOST_LEARNT, generator).numpy()
        found = _without(expert, curves, sharp[smaller[learnt]], fit)
        asked = generator.permutation(np.flatnonzero(np.isin(size, size[sharp[larger]])))[:ASKED_RUNS]
        rows = curves.rows.take(torch.from_numpy(asked))
        moments = [state.marginals(rows) for state in found]
        location, variance = (np.stack([part[i].numpy() for part in moments], axis=1) for i in range(2))
        location[:, 0] -= level[asked]
        fold = together(list(_foretold(expert, curves, residual, location, variance, asked)))
        parts.append(replace(fold, say=fold.say * SAY / fold.say.sum()))
    if not parts:
        return float(np.exp(PRIOR))
    return float(np.exp(fit_factors(together(parts), centre=PRIOR)[0]))


def _without(
    expert: FunctionalExpert, curves: Curves, known: Positions, fit: Callable[[Prepared], ExactState]
) -> list[ExactState]:
    """Processes of the scores that know some of the runs only."""
    index = torch.from_numpy(known)
    first, *rest = expert.scores.states
    data = first.data.take(index)
    ends = Prepared(
        expert.encoder,
        expert.transform,
        replace(data, weight=torch.ones_like(data.y)),
        expert.transform.inverse(data.y.numpy()),
        np.arange(len(known)),
        curves.cells[known],
        np.zeros(len(known), dtype=bool),
        data.rows,
        expert.size_default,
    )
    return [
        fit(ends),
        *(solve_exactly(state.process, state.data.take(index), state.device) for state in rest),
    ]


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
        wide = expert.spread.factors(v[None], np.array([np.nan]), np.zeros(1))[0]
        yield foretold(views, residual[where], np.ones((len(where), 1)), wide)
