"""How far runs may leave the course that beginnings promise, where no run of their size has come far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from probscale.model.baseline import Baseline
from probscale.model.basis import Basis
from probscale.model.continuation import Outlook
from probscale.surrogate.expert import MARGIN
from probscale.surrogate.functional_places import Places

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

DRIFT_GAIN, DRIFT_SIZE = 0.4, 0.1
"""How far runs may leave their course by their end, where no run of their size came far: as a share of what
their ends gain on a size of which one did, and per e-fold of size. It comes as the gain itself does, little
of which is there at first (`Course`). By log density and CRPS of runs of which 5 to 50 % are seen, on 36 sets
of larger sizes inside training rows; 11 sets where one size was known agree."""

MISLEADS = 0.4
"""Probability that a beginning says nothing of how its run ends, where no run of its size came far, over the
share of the gain that is still to come. By log density and CRPS on 49 sets of larger sizes inside training
rows, 18 of them of logs of one size whose law another log told."""

SHARES = np.geomspace(1e-3, 1.0, 40)
"""Shares of a run at which its course is followed."""


@dataclass(frozen=True)
class Course:
    """How runs come to gain from their size.

    Sizes differ by an added term, which is the less of a loss the higher it still is: at the end all of the
    gain is there, and before as much of it as a loss above the floor is near that of the end.

    Attributes:
        v: Progress, ascending, (shares,).
        there: Share of the gain that is there, (shares,).
    """

    v: Array
    there: Array

    def ahead(self, v: Array, begin: float) -> Array:
        """Share of the gain that comes between `begin` and points at progress `v`, (points,)."""
        coming = np.interp(v, self.v, self.there) - np.interp(begin, self.v, self.there)
        return np.where(v > begin, np.maximum(coming, 0.0), 0.0)


def courses_of(
    places: Places, baseline: Baseline, basis: Basis, scores: Array, which: Positions
) -> dict[int, Course]:
    """Courses of some configurations, by their position.

    Args:
        places: What the shapes of the curves of all configurations depend on.
        baseline: Shapes of curves.
        basis: Functions of progress.
        scores: Scores that are expected of them, less their levels, (configs, scores).
        which: Positions of those that are asked.
    """
    if not len(which):
        return {}
    at = places.ends[which, None] * SHARES
    v, shape = places.shape(baseline, at.ravel(), np.repeat(which, len(SHARES)))
    strayed = np.einsum("csq,cq->cs", basis.at(v).reshape(*at.shape, -1), scores[which])
    curve = shape.reshape(at.shape) + strayed
    there = np.exp(-np.maximum(curve - curve[:, -1:], 0.0))
    return {int(i): Course(*one) for i, *one in zip(which, v.reshape(at.shape), there, strict=True)}


@dataclass(frozen=True)
class Beginnings:
    """Runs larger than any that had come far when parameters were fitted.

    Attributes:
        runs: Their codes, (runs,).
        sizes: Logarithms of their model sizes, (runs,).
        reached: Progress of their last points, (runs,).
    """

    runs: Array
    sizes: Array
    reached: Array

    def known(self, size: Array, runs: Array) -> Array:
        """Progress up to which any other such run was observed, NaN without any, (configs,).

        Args:
            size: Logarithms of the model sizes asked for, (configs,): runs as large count, or else all.
            runs: Codes of the runs asked for, (configs,).
        """
        others = self.runs != runs[:, None]
        as_large = others & (self.sizes >= size[:, None] - MARGIN)
        counting = np.where(as_large.any(axis=1, keepdims=True), as_large, others)
        most = np.where(counting, self.reached, -np.inf).max(axis=1, initial=-np.inf)
        return np.where(np.isfinite(most), most, np.nan)


@dataclass(frozen=True)
class Drifts:
    """How far runs may leave their course, and from where on.

    Attributes:
        ends: One standard deviation at their ends, modelled scale, (configs,); zero: they do not.
        known: Progress up to which other runs tell their course; NaN where there are none, (configs,).
        courses: How the drift of configurations comes, by their position; none for others.
    """

    ends: Array
    known: Array
    courses: Mapping[int, Course]

    def applied(
        self,
        views: Sequence[Outlook],
        i: int,
        v: Array,
        last: float,
        unseen: Sequence[Outlook] = (),
        wider: Array | float = 1.0,
    ) -> list[Outlook]:
        """Outlooks of one run with its drift.

        Args:
            views: Without it.
            i: Position of the run.
            v: Progress of the asked points, (points,).
            last: That of its own last point; NaN for a new run.
            unseen: Its outlooks had nothing been seen of it: what was seen leaves no more doubt than these
                with their drift, and may say nothing of what follows.
            wider: Factor that spreads put on the variance of these, relative to that of `views`, (points,).
        """
        begin = float(np.fmax(self.known[i], last))
        drift = self._drift(i, v, begin)
        if not drift.any():
            return list(views)
        if not unseen:
            return [view.drifting(drift) for view in views]
        before = self._drift(i, v, float(self.known[i]))
        most = wider * (_variance(unseen) + before**2)
        drift = np.minimum(drift, np.sqrt(np.maximum(most - _variance(views), 0.0)))
        course = [view.drifting(drift) for view in views]
        usual = max(unseen, key=lambda view: view.weight).drifting(before)
        return self._perhaps_misled(course, usual, most / usual.variance, i, v, begin)

    def _perhaps_misled(
        self, seen: Sequence[Outlook], unseen: Outlook, wider: Array, i: int, v: Array, begin: float
    ) -> list[Outlook]:
        """Outlooks of a run, and those if its beginning misled: ever more as if nothing had been seen."""
        ahead = self.courses[i].ahead(v, begin)
        whole = max(float(self.courses[i].ahead(np.ones(1), begin)[0]), float(ahead.max()))
        misled = [view.leaning(unseen, ahead / whole, wider) for view in seen]
        parts = ((seen, 1 - MISLEADS * whole), (misled, MISLEADS * whole))
        return [replace(view, weight=chance * view.weight) for views, chance in parts for view in views]

    def _drift(self, i: int, v: Array, begin: float) -> Array:
        """Standard deviation of the drift of a run that is known up to `begin`, (points,)."""
        if not np.isfinite(begin) or i not in self.courses:
            return np.zeros(len(v))
        return self.ends[i] * self.courses[i].ahead(v, begin)


def _variance(views: Sequence[Outlook]) -> Array:
    """Variance of what several outlooks say together of measurements, (points,)."""
    weights = np.array([view.weight for view in views])
    weights = weights / weights.sum()
    centres = np.stack([view.centre for view in views])
    within = np.stack([view.variance for view in views])
    return weights @ (within + (centres - weights @ centres) ** 2)


def drift_ends(places: Places, beyond: Array) -> Array:
    """Standard deviations of drifts at the ends of configurations, modelled scale, (configs,); see above.

    Args:
        places: What the shapes of their curves depend on.
        beyond: E-folds by which their sizes exceed those of which runs have come far, (configs,); zero where
            the modelled scale is no logarithm.
    """
    if places.shift is not None:
        return np.hypot(DRIFT_GAIN * places.shift, DRIFT_SIZE * beyond)
    gain, larger = np.zeros(len(beyond)), places.larger
    if larger is not None:
        gain = np.where(larger.where >= 0, larger.gain[larger.where], 0.0)
    return np.where(beyond > MARGIN, np.hypot(DRIFT_GAIN * gain, DRIFT_SIZE * beyond), 0.0)
