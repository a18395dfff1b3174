"""Spikes among new points of runs, which say nothing of where a run goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState, Look
from probscale.model.gp import Observations
from probscale.model.straying import FEWEST_SETTLED

Array = NDArray[np.float64]

APART = 8.0
"""Standard deviations by which a spike is worse than expected. On runs left out of lots of seven logs, 10 to
50 % of them shown, and on a larger size of nanochat, six is as good where there are spikes, and takes a few
ordinary points for some."""

MOST_SPIKES = 0.25
"""Share of the new points of a run up to which some are spikes; of more, none is one."""

UNHEARD = 1e-6
"""Weight of a spike: it stays among the data and moves nothing."""


@torch.no_grad()
def without_spikes(
    state: ExactState, new: Observations, runs: Array, look: Look, *, worse: float
) -> Observations:
    """New points, those that are spikes without a say.

    A fit doubts points that the others foretell otherwise; one point of a run that is shown later could move
    all that is said of it. A spike is worse than what everything else, the other new points of its run
    included, lets expect, by `APART` standard deviations. The farthest goes first, since beside it others
    look odd.

    Args:
        state: What is known before.
        new: The new points.
        runs: Code of the run of each, (points,).
        look: What `state` says of their rows.
        worse: Sign of residuals that are worse than expected.

    Cost: O(points of a run³) for each run.
    """
    weight = new.weight.clone()
    for run in np.unique(runs):
        which = torch.from_numpy(np.flatnonzero(runs == run))
        if len(which) >= FEWEST_SETTLED:
            left = (new.y[which] - look.mean.cpu()[which]).numpy()
            own = replace(look, slopes=look.slopes[which], left=look.left[:, which])
            rows = new.rows.take(which)
            joint = state.joint(rows, own) + torch.diag(state.process.noise(rows))
            weight[which[_spikes(worse * left, joint.numpy())]] = UNHEARD
    return replace(new, weight=weight)


def _spikes(left: Array, covariance: Array) -> NDArray[np.intp]:
    """Positions of spikes among points of one run, given residuals, positive where points are worse."""
    kept = np.arange(len(left))
    while len(kept) >= (1 - MOST_SPIKES) * len(left):
        precision = np.linalg.inv(covariance[np.ix_(kept, kept)])
        apart = precision @ left[kept] / np.sqrt(precision.diagonal())
        worst = int(apart.argmax())
        if apart[worst] <= APART:
            return np.setdiff1d(np.arange(len(left)), kept)
        kept = np.delete(kept, worst)
    return np.empty(0, dtype=np.intp)
