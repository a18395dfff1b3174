"""Runs added to a surrogate without a setting that every run of the fit has: how far they may be off.

Such a run enters at the place of a typical one. What the setting would have moved is a deviation of that run
alone: it is as large as forecasts at the values that the setting may have differ from the one at that place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.encoder import AxisScale

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

STATIONS = 5
"""Axis values along a run at which forecasts are compared."""


@dataclass(frozen=True)
class Untold:
    """Runs of an added log that leave out settings which matter.

    Attributes:
        runs: Their positions in the log, (runs,).
        typical: Their configurations as they enter, (runs, columns).
        ways: The same with other values of what they leave out; equally likely.
    """

    runs: Positions
    typical: pd.DataFrame
    ways: tuple[pd.DataFrame, ...]

    @property
    def fresh(self) -> Array:
        """Run codes of as many new runs, (runs,)."""
        return -np.arange(1.0, len(self.runs) + 1)

    def among(self, runs: NDArray[np.integer]) -> Untold | None:
        """Those that are among some runs of the log; None where none is."""
        keep = np.flatnonzero(np.isin(self.runs, runs))
        if not len(keep):
            return None
        ways = tuple(way.iloc[keep] for way in self.ways)
        return Untold(self.runs[keep], self.typical.iloc[keep], ways)

    def stations(self, at: Array, runs: Positions, axis: AxisScale, end: float) -> Array:
        """Axis values at which forecasts of each run are compared, (runs, stations).

        From the first point to the end, which is the last point where that is farther, evenly by logarithm. A
        point at zero is none to begin with where the axis of the fit does not start there.

        Args:
            at: Axis values of points, (points,).
            runs: Positions of their runs in the log, (points,).
            axis: How the fit sees axis values.
            end: Logarithm of the end of the runs of the fit, as `axis` has it.
        """
        out = []
        for run in self.runs:
            own = at[runs == run]
            logs = np.append(axis.log(own[own + axis.offset > 0]), end)
            out.append(axis.value(np.linspace(logs.min(), logs.max(), STATIONS)))
        return np.stack(out)

    def ends(self, at: Array, runs: Positions) -> Array:
        """Last axis value of each run, (runs, 1); see `stations`."""
        return np.array([[at[runs == run].max()] for run in self.runs])

    def moves(self, forecast: Callable[[pd.DataFrame], Array]) -> Array:
        """By how much the settings may move forecasts of the runs, (ways, runs, stations).

        Args:
            forecast: Means of configurations taken for new runs, (runs, stations), on the modelled scale.
        """
        here = forecast(self.typical)
        return np.stack([forecast(way) - here for way in self.ways])


def lines_of(moves: Array, coordinates: Array) -> Array:
    """Mean products of the coefficients of straight lines through moves, (runs, 3).

    Level times level, level times slope, slope times slope: what varies as straight lines do.

    Args:
        moves: (ways, runs, stations).
        coordinates: Axis coordinates of the stations, (runs, stations).
    """
    out = []
    for run, own in enumerate(coordinates):
        design = np.stack([np.ones(len(own)), own], axis=1)
        level, slope = np.linalg.lstsq(design, moves[:, run].T, rcond=None)[0]
        out.append([np.mean(level**2), np.mean(level * slope), np.mean(slope**2)])
    return np.array(out)
