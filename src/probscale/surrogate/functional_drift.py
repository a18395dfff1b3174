"""How far runs may leave the course that beginnings promise, where no run of their size has come far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probscale.model.continuation import Outlook
from probscale.surrogate.expert import MARGIN
from probscale.surrogate.functional_places import Places

Array = NDArray[np.float64]

DRIFT = 0.15
"""How far begun runs may leave their course where the size of a run is new and all others had one size, as a
share of what size shifts their ends by: nothing tells how shapes differ between sizes."""

DRIFT_LARGER = 0.3
"""The same for sizes beyond those of which runs have come far, as a share of what their ends gain on these.
With beginnings of the largest training sizes shown, log density is better by .7 nats on nanochat and the same
on misfitting; with .5 and .8 by 1.2 and 1.6 on nanochat, with .6 worse by .05 on misfitting."""


@dataclass(frozen=True)
class Beginnings:
    """Runs larger than any that had come far when parameters were fitted.

    Attributes:
        sizes: Logarithms of their model sizes, (runs,).
        reached: Progress of their last points, (runs,).
    """

    sizes: Array
    reached: Array

    def known(self, size: Array) -> Array:
        """Progress up to which any such run was observed, NaN without any, (configs,).

        Args:
            size: Logarithms of the model sizes asked for, (configs,): runs as large count, or else all.
        """
        if not len(self.sizes):
            return np.full(len(size), np.nan)
        as_large = self.sizes >= size[:, None] - MARGIN
        return np.where(as_large.any(axis=1), (as_large * self.reached).max(axis=1), self.reached.max())


@dataclass(frozen=True)
class Drifts:
    """How far runs may leave their course, and from where on.

    Attributes:
        ends: One standard deviation at their ends, modelled scale, (configs,); zero: they do not.
        known: Progress from which on they may; NaN: that of their own last point, (configs,).
    """

    ends: Array
    known: Array

    def applied(
        self, views: Sequence[Outlook], i: int, v: Array, last: float, unseen: Sequence[Outlook] = ()
    ) -> list[Outlook]:
        """Outlooks of one run with its drift.

        Args:
            views: Without it.
            i: Position of the run.
            v: Progress of the asked points, (points,).
            last: That of its own last point; NaN for a new run.
            unseen: Its outlooks had nothing been seen of it: what was seen leaves no more doubt than these.
        """
        begin = float(np.fmax(self.known[i], last))
        if not self.ends[i] or not np.isfinite(begin):
            return list(views)
        ahead = np.clip((v - begin) / max(1 - begin, 1e-3), 0.0, 1.0)
        drift = self.ends[i] * ahead
        if unseen:
            room = np.maximum(_variance(unseen) - _variance(views), 0.0)
            drift = np.minimum(drift, np.sqrt(room))
        return [view.drifting(drift) for view in views]


def _variance(views: Sequence[Outlook]) -> Array:
    """Variance of what several outlooks say together, (points,)."""
    weights = np.array([view.weight for view in views])
    weights = weights / weights.sum()
    centres = np.stack([view.centre for view in views])
    within = np.stack([view.shared_variance + view.own_variance for view in views])
    return weights @ (within + (centres - weights @ centres) ** 2)


def drifts_of(places: Places, size: Array, beginnings: Beginnings) -> Drifts:
    """Drifts of configurations; see `DRIFT` and `DRIFT_LARGER`.

    Args:
        places: What the shapes of their curves depend on.
        size: Logarithms of their model sizes, (configs,).
        beginnings: Runs of sizes of which none came far.
    """
    nowhere = np.full(len(size), np.nan)
    if places.shift is not None:
        return Drifts(DRIFT * places.shift, nowhere)
    larger = places.larger
    if larger is None or not len(beginnings.sizes):
        return Drifts(np.zeros(len(size)), nowhere)
    ends = np.where(larger.where >= 0, DRIFT_LARGER * larger.gain[larger.where], 0.0)
    return Drifts(ends, beginnings.known(size))
