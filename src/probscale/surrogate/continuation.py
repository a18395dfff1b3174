"""Spread of begun runs, learnt by leaving the rest of each run out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState
from probscale.model.posterior import Tail
from probscale.model.tails import fit_continuation

BEGUN = (0.1, 0.2, 0.5)
"""Shares of runs whose rest is left out to learn how far continuations stray."""

FEWEST_CUT = 5
"""Runs that can be cut, below which begun runs have the spread of new ones."""


def continuation_scale(state: ExactState, codes: NDArray[np.intp], tail: Tail, seed: int) -> float | None:
    """Scale of the spread of begun runs: the rest of each run is left out, its beginning stays in.

    How much of a run stays in is drawn from `BEGUN`.

    Args:
        state: Posterior of the leading model.
        codes: Run of each of its points.
        tail: Spread of new runs.
        seed: Seed of the choice.

    Returns:
        The scale; None with fewer than five runs that can be cut.

    Cost: O(points³), one inverse.
    """
    runs, position = np.unique(codes, return_inverse=True)
    at = np.exp(state.data.rows.progress.numpy())
    first, last = np.full(len(runs), np.inf), np.zeros(len(runs))
    np.minimum.at(first, position, at)
    np.maximum.at(last, position, at)
    cut = np.maximum(np.random.default_rng(seed).choice(BEGUN, len(runs)) * last, first)
    late = np.flatnonzero(at > cut[position])
    count = len(np.unique(position[late]))
    if count < FEWEST_CUT:
        return None
    groups = len(runs) + np.arange(len(at))
    groups[late] = position[late]
    residual, variance = (np.asarray(part)[late] for part in state.leave_groups_out(groups))
    with torch.no_grad():
        noise = state.process.noise(state.data.rows).numpy()[late]
    return fit_continuation(residual, variance, noise, tail, runs=count)
