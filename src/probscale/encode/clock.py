"""Clock: how far a curve is, as a coordinate in which curves of all lengths bend alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

COMPLETE = 0.99
"""Share of the horizon from which on a run counts as finished."""

_EARLY = 0.03


@dataclass(frozen=True)
class Clock:
    """Progress of a run, one at its reference end.

    With a planned horizon the reference end is the horizon, and progress is a warped share of it: logarithmic
    at first, then linear, and stretched at the end, where decaying schedules bend curves. Without one it is
    the logarithm of the axis between a typical first and a typical last value.

    Attributes:
        horizon: Name of the horizon role; None without one.
        first: Logarithm of a typical first axis value.
        last: Logarithm of the axis value that is the reference end of runs without a horizon.
        offset: Added before the logarithm; positive only where the axis starts at zero.
    """

    horizon: str | None
    first: float
    last: float
    offset: float

    def ends(self, horizons: Array) -> Array:
        """Reference end of each run, axis units, (runs,); runs without a horizon share one."""
        common = float(np.exp(self.last)) - self.offset
        return np.where(np.isfinite(horizons) & (horizons > 0), horizons, common)

    def read(self, at: Array, horizons: Array) -> Array:
        """Progress of points, (points,), at axis values of runs with the given horizons."""
        known = np.isfinite(horizons) & (horizons > 0)
        span = max(self.last - self.first, 1e-9)
        free = 1 + (np.log(np.maximum(at + self.offset, 1e-300)) - self.last) / span
        share = at / np.where(known, horizons, 1.0)
        return np.where(known, _warped(share), np.maximum(free, -0.5))


def _warped(share: Array) -> Array:
    """Warped share of the horizon; beyond it progress goes on along the logarithm.

    Source: chosen on the training split of the NCPL curves.
    """
    f = np.maximum(share, 0.0)
    inside = np.minimum(f, 1.0)
    unit = np.log1p(1 / _EARLY)
    return 0.4 * np.log1p(f / _EARLY) / unit + 0.3 * f + 0.3 * (1 - np.sqrt(1 - inside))


def fit_clock(at: Array, codes: NDArray[np.intp], horizons: Array | None, horizon: str | None) -> Clock:
    """Clock of a log.

    Args:
        at: Axis value of each point, ascending within a run, (points,).
        codes: Run of each point, (points,).
        horizons: Planned end of each run, (runs,); None without the role.
        horizon: Name of the role.
    """
    offset = 0.0 if at.min() > 0 else 0.5 * float(at[at > 0].min())
    count = int(codes.max()) + 1
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, codes, at)
    np.maximum.at(last, codes, at)
    present = np.isfinite(first)
    known = horizon is not None and horizons is not None
    return Clock(
        horizon if known else None,
        float(np.median(np.log(first[present] + offset))),
        float(np.quantile(np.log(last[present] + offset), 0.5)),
        offset,
    )
