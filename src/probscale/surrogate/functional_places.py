"""Where points of curves lie: what of a run the shape of its curve depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from probscale.encode.annealing import bend
from probscale.encode.clock import Clock
from probscale.encode.warming import warmth
from probscale.model.baseline import Baseline, Points
from probscale.model.basis import Basis

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

LAG = 2.5
"""How fast the effect of model size fades with distance from the end, in powers of loss above the floor. All
sizes begin alike: between neighbouring sizes of StepLaw, 120 to 430 million, a run at 2-70 % of its way has
the share of its final difference that 1.6 to 2.3 give, below that up to 4; one would be an additive law."""

LIKE_LONGER = 0.5
"""Share of a run shorter than any observed over which it is drawn to the shortest: its learning rate comes
down earlier. Drawn over all of its way, ten sets of shorter runs inside training rows come out 6 % worse."""

SAME_LENGTH = 1e-6
"""Difference of the logarithms of two lengths up to which they are one."""

HALF = 0.5
"""Share of the way that larger runs are drawn to shapes whose sizes add up."""


@dataclass(frozen=True)
class Places:
    """Runs as the baseline sees them, one row each.

    Attributes:
        clock: Axis values to progress.
        z: Coordinates of the configurations, (runs, coordinates).
        horizons: Planned ends, NaN where not given, (runs,).
        ends: Reference ends, (runs,).
        forms: How the learning rates go, (runs, 3), see `Annealing.forms`; None where it is not known.
        warm: Share of each run over which they rise, (runs,); None where it is not known.
        shift: By how much the size of each run shifts its end beyond what its coordinates say, (runs,), for
            losses above a floor; None where size is among the coordinates.
        alike: Runs of observed lengths that those of others begin like; None where there are no others.
        larger: Runs of the largest observed size beside larger ones; None where there are none.
    """

    clock: Clock
    z: Array
    horizons: Array
    ends: Array
    forms: Array | None
    warm: Array | None = None
    shift: Array | None = None
    alike: Alike | None = None
    larger: Larger | None = None

    def take(self, run: int) -> Places:
        """One run alone."""
        one = slice(run, run + 1)
        forms = None if self.forms is None else self.forms[one]
        warm = None if self.warm is None else self.warm[one]
        shift = None if self.shift is None else self.shift[one]
        alike = None if self.alike is None else replace(self.alike, where=self.alike.where[one])
        larger = None if self.larger is None else replace(self.larger, where=self.larger.where[one])
        some = self.z[one], self.horizons[one], self.ends[one]
        return Places(self.clock, *some, forms, warm, shift, alike, larger)

    def points(self, at: Array, runs: Positions) -> Points:
        """Points at axis values, (points,), of the runs at given positions, (points,)."""
        v, share = self.clock.read(at, self.horizons[runs]), at / self.ends[runs]
        return Points(v, at, self.z[runs], self._bend(share, runs), self._warmth(share, runs))

    def finish(self, runs: Positions) -> Points:
        """The reference ends of the runs of points, (points,)."""
        one = np.ones(len(runs))
        bent, warmed = self._bend(one, runs), self._warmth(one, runs)
        return Points(one, self.ends[runs], self.z[runs], bent, warmed)

    def shape(self, baseline: Baseline, at: Array, runs: Positions) -> tuple[Array, Array]:
        """Progress of points, and what a baseline says of them less the end of their run; (points,) each."""
        points = self.points(at, runs)
        shape = baseline.shape(points, self.finish(runs))
        if self.shift is not None:
            shape = shape + self.shift[runs] * np.expm1(-LAG * np.maximum(shape, 0.0))
        for others in (self.alike, self.larger):
            if others is not None:
                shape = shape + others.drawn(baseline, at, runs, points.v, shape, self.ends)
        return points.v, shape

    def _bend(self, share: Array, runs: Positions) -> Array | None:
        return None if self.forms is None else bend(self.forms[runs], share)

    def _warmth(self, share: Array, runs: Positions) -> Array | None:
        return None if self.warm is None else warmth(self.warm[runs], share)


@dataclass(frozen=True)
class Beside:
    """Runs beyond what was observed, drawn to the same configurations where others were observed.

    Attributes:
        where: Which of the arrays below are a run's, (runs,); -1 for runs of observed kinds.
        places: The configurations where others were observed, (others,).
        rise: By how much their levels are higher there, (others,).
        own: Scores that are expected of the runs themselves, less their level, (others, scores).
        theirs: The same where others were observed, (others, scores).
        basis: Functions of progress.
    """

    where: Positions
    places: Places
    rise: Array
    own: Array
    theirs: Array
    basis: Basis

    def drawn(
        self, baseline: Baseline, at: Array, runs: Positions, v: Array, shape: Array, ends: Array
    ) -> Array:
        """By how much points are moved towards the curves of observed kinds, (points,).

        Args:
            baseline: Shapes of curves.
            at: Axis values, (points,).
            runs: Position of the run of each point, (points,).
            v: Progress of each point, (points,).
            shape: What is said of each point without these, less the end of its run, (points,).
            ends: Where the runs end, (runs,).
        """
        out = np.zeros(len(at))
        here = np.flatnonzero(self.where[runs] >= 0)
        if not len(here):
            return out
        at, which = at[here], self.where[runs[here]]
        near_v, near = self.places.shape(baseline, at, which)
        mine = shape[here] + (self.basis.at(v[here]) * self.own[which]).sum(axis=1)
        theirs = near + (self.basis.at(near_v) * self.theirs[which]).sum(axis=1)
        out[here] = self._moved(baseline, at, which, ends[runs[here]], mine, theirs)
        return out

    def _moved(
        self, baseline: Baseline, at: Array, which: Positions, ends: Array, mine: Array, theirs: Array
    ) -> Array:
        """The same for points of such runs, given both curves less their levels, (points,)."""
        raise NotImplementedError


class Alike(Beside):
    """Runs of lengths that no run has had, and the same configurations at the nearest length that some had.

    A run twice as long as any begins as the longest did: at the same axis value, not at the same share of its
    way. Its curve is drawn to theirs, all the way at first and no more where the longest end; see
    `LIKE_LONGER` for shorter ones.
    """

    def _moved(
        self, baseline: Baseline, at: Array, which: Positions, ends: Array, mine: Array, theirs: Array
    ) -> Array:
        there = self.places.ends[which]
        share = at / np.where(ends > there, there, LIKE_LONGER * ends)
        return np.clip(1 - share, 0.0, 1.0) * (self.rise[which] + theirs - mine)


class Larger(Beside):
    """Runs larger than any observed, and the same configurations at the largest observed size.

    Where a law adds a size term, it takes the same off the loss all along a run, and so the less off its
    logarithm the higher the loss still is. Shapes that go on as they changed from size to size do not know
    that, and sizes are few. These are two accounts of how a curve comes down to one end, and half of each is
    taken: nothing moves at the end.
    """

    @property
    def gain(self) -> Array:
        """By how much the ends are lower at their own size, modelled scale, (others,)."""
        return self.rise + self.theirs[:, 0] - self.own[:, 0]

    def _moved(
        self, baseline: Baseline, at: Array, which: Positions, ends: Array, mine: Array, theirs: Array
    ) -> Array:
        mine, theirs = mine - self.own[which, 0], theirs - self.theirs[which, 0]
        there_already = np.exp(-np.maximum(theirs - baseline.shared_at(at), 0.0))
        return HALF * (theirs + self.gain[which] * (1 - there_already) - mine)
