"""Where points of curves lie: what of a run the shape of its curve depends on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probscale.encode.annealing import bend
from probscale.encode.clock import Clock
from probscale.encode.warming import warmth
from probscale.model.baseline import Baseline, Points

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

LAG = 2.5
"""How fast the effect of model size fades with distance from the end, in powers of loss above the floor. All
sizes begin alike: between neighbouring sizes of StepLaw, 120 to 430 million, a run at 2-70 % of its way has
the share of its final difference that 1.6 to 2.3 give, below that up to 4; one would be an additive law."""


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
    """

    clock: Clock
    z: Array
    horizons: Array
    ends: Array
    forms: Array | None
    warm: Array | None = None
    shift: Array | None = None

    def take(self, run: int) -> Places:
        """One run alone."""
        one = slice(run, run + 1)
        forms = None if self.forms is None else self.forms[one]
        warm = None if self.warm is None else self.warm[one]
        shift = None if self.shift is None else self.shift[one]
        return Places(self.clock, self.z[one], self.horizons[one], self.ends[one], forms, warm, shift)

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
        return points.v, shape

    def _bend(self, share: Array, runs: Positions) -> Array | None:
        return None if self.forms is None else bend(self.forms[runs], share)

    def _warmth(self, share: Array, runs: Positions) -> Array | None:
        return None if self.warm is None else warmth(self.warm[runs], share)
