"""Model sizes beyond the observed ones: folds that leave the largest out, and what a size owes to itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState, solve_exactly
from probscale.model.offsets import SizeOffset, with_offsets
from probscale.surrogate.extrapolation import MOST_LEARNT, scale_folds
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.functional_curves import Curves
from probscale.surrogate.prepare import Prepared, choose_subset

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

ASKED_RUNS = 60
"""Runs of larger sizes that a fold asks for."""

SHARP = 0.3
"""Weight of a run's end from which on it is known."""

USUAL = 0.01
"""Usual standard deviation of what sizes owe to themselves, where they do, in shares of loss above the floor.
Folds of nanochat ask for .010, those of misfitting without its larger sizes for .004 to .007."""

USUAL_STD = 1.0
"""Prior standard deviation of its logarithm."""

SMOOTH = 0.5
"""Prior probability that a log's sizes owe nothing to themselves."""

ALIKE = 0.05
"""Logarithm of the ratio up to which two sizes have anything of this in common."""

SCALES = np.geomspace(1e-3, 0.15, 25)
"""Standard deviations that are weighed, in shares of loss above the floor."""

FEWEST_PER_SIZE = 5
"""Runs a size has on the mean, below which its offset could not be told from theirs."""


@dataclass(frozen=True)
class SizeFold:
    """Larger sizes and what smaller ones let expect of their scores.

    Attributes:
        states: Processes of the scores that know smaller sizes only; that of the ends is fitted anew.
        asked: Runs of larger sizes, positions among the curves.
    """

    states: list[ExactState]
    asked: Positions


def size_folds(
    expert: FunctionalExpert,
    curves: Curves,
    fit: Callable[[Prepared], ExactState],
    generator: np.random.Generator,
) -> list[SizeFold]:
    """Processes that know smaller sizes, and the larger ones to ask them for; see `extrapolation`.

    Args:
        expert: Whose processes forget the larger sizes.
        curves: What it was fitted to.
        fit: Fits all parameters of a process of ends.
        generator: Thins large folds.

    Cost: three fits of at most 250 points, and solves of the other scores for as many.
    """
    if expert.encoder.roles.params is None:
        return []
    ends = expert.scores.states[0].data
    sharp = np.flatnonzero(ends.weight.numpy() > SHARP)
    size = ends.rows.size.numpy()
    found = []
    for smaller, larger in scale_folds(size[sharp]):
        learnt = choose_subset(smaller, MOST_LEARNT, generator).numpy()
        states = _without(expert, curves, sharp[smaller[learnt]], fit)
        asked = generator.permutation(np.flatnonzero(np.isin(size, size[sharp[larger]])))[:ASKED_RUNS]
        found.append(SizeFold(states, asked))
    return found


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
        np.zeros(len(known), dtype=bool),
        expert.size_default,
    )
    return [
        fit(ends),
        *(solve_exactly(state.process, state.data.take(index), state.device) for state in rest),
    ]


@dataclass(frozen=True)
class SizeColumn:
    """Where rows hold the model size.

    Attributes:
        index: Column of rows.
        alike: Distance there up to which sizes count as one.
    """

    index: int
    alike: float

    def offset(self, state: ExactState, scale: float) -> ExactState:
        """A posterior with an offset for each size."""
        term = SizeOffset(self.index, alike=self.alike, scale=scale)
        return solve_exactly(with_offsets(state.process, term), state.data, state.device)


def with_size_offsets(
    expert: FunctionalExpert, folds: Sequence[SizeFold]
) -> tuple[FunctionalExpert, list[SizeFold]]:
    """The expert, and its folds, with an offset for each model size in the process of the ends.

    Whether there are any, and how large, the ends of larger sizes say, which the folds foretell.

    Args:
        expert: Without offsets.
        folds: Its folds, without offsets.

    Returns:
        Both as they were where sizes are foretold as well as claimed, and where a log has one size, or a size
        of its own for most runs.

    Cost: O(points³) per fold and scale.
    """
    column = size_column(expert)
    if column is None:
        return expert, list(folds)
    first, *rest = expert.scores.states
    scale = offset_scale([(fold.states[0], first, fold.asked) for fold in folds], column)
    if scale is None:
        return expert, list(folds)
    scores = replace(expert.scores, states=(column.offset(first, scale), *rest))
    changed = [
        replace(fold, states=[column.offset(fold.states[0], scale), *fold.states[1:]]) for fold in folds
    ]
    return replace(expert, scores=scores), changed


def size_column(expert: FunctionalExpert) -> SizeColumn | None:
    """Where rows hold the model size, if several runs share each of several sizes; else None."""
    name, names = expert.encoder.roles.params, expert.encoder.continuous
    if name is None or name not in names:
        return None
    rows, index = expert.scores.states[0].data.rows, names.index(name)
    size, here = rows.size.numpy(), rows.x[:, index].numpy()
    if len(np.unique(size)) * FEWEST_PER_SIZE > len(size) or np.ptp(size) < ALIKE:
        return None
    return SizeColumn(index, ALIKE * float(np.ptp(here) / np.ptp(size)))


def offset_scale(
    folds: Sequence[tuple[ExactState, ExactState, Positions]], column: SizeColumn
) -> float | None:
    """Standard deviation of what sizes owe to themselves: root mean square of its posterior.

    Each size left out counts by the mean of its ends alone: its runs share what is asked.

    Args:
        folds: Process of ends that knows smaller sizes, the one that knows all, and runs of larger sizes.
        column: Where rows hold the size.

    Returns:
        The scale; None where it is likelier that sizes owe nothing to themselves.

    Source: a spike and a slab, Mitchell and Beauchamp 1988.
    """
    prior = np.exp(-0.5 * (np.log(SCALES / USUAL) / USUAL_STD) ** 2)
    total = np.zeros(len(SCALES) + 1)
    for state, whole, asked in folds:
        states = (state, *(column.offset(state, scale) for scale in SCALES))
        total += [_mean_density(each, whole, asked, column) for each in states]
    likely = np.exp(total - total.max())
    share = likely[1:] * prior / prior.sum()
    if (1 - SMOOTH) * share.sum() <= SMOOTH * likely[0]:
        return None
    return math.sqrt(float(share @ SCALES**2 / share.sum()))


def _mean_density(state: ExactState, whole: ExactState, asked: Positions, column: SizeColumn) -> float:
    """Log density of the mean ends of sizes left out, on the mean over sizes."""
    known = asked[whole.data.weight.numpy()[asked] > SHARP]
    rows = whole.data.rows.take(torch.from_numpy(known))
    left = (whole.data.y[known] - state.marginals(rows)[0]).numpy()
    joint = state.covariance(rows, rows).numpy()
    with torch.no_grad():
        joint += np.diag(state.process.noise(rows).numpy())
    size = rows.x[:, column.index].numpy()
    found = []
    for value in np.unique(size):
        here = np.flatnonzero(size == value)
        variance = joint[np.ix_(here, here)].mean()
        found.append(-0.5 * left[here].mean() ** 2 / variance - 0.5 * math.log(variance))
    return float(np.mean(found))
