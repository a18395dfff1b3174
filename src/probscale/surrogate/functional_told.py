"""Model sizes that are no coordinate of shapes: one size, or sizes that other coordinates tell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.means import CurveMean, Rows

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ToldSizes:
    """What the coordinates of configurations say of their model sizes.

    Where all runs had one size they say that one. Where lengths are planned for sizes (twenty tokens a
    parameter, say), or width and depth fix the size, the coordinates tell it, and what they say of curves
    holds the effect of the size already.

    Attributes:
        intercept: Logarithm of the size where all coordinates are zero.
        slopes: Change of it per unit of each coordinate, (coordinates,).
        slack: By how much sizes of the runs of the fit differ from what is told of them, at most.
    """

    intercept: float
    slopes: Array
    slack: float

    def usual(self, size: Array, coordinates: Array) -> Array:
        """Logarithms of the sizes that the coordinates tell, or `size` where the slack allows it, (configs,).

        Args:
            size: Logarithms of the sizes of the configurations, (configs,).
            coordinates: Their coordinates, (configs, coordinates).
        """
        told = self.intercept + coordinates @ self.slopes
        return told + np.clip(size - told, -self.slack, self.slack)

    def shift(self, mean: CurveMean, rows: Rows, coordinates: Array) -> Array:
        """By how much a mean shifts ends of sizes other than those that the coordinates tell, (configs,)."""
        usual = torch.from_numpy(self.usual(rows.size.numpy(), coordinates))
        with torch.no_grad():
            return (mean(rows) - mean(replace(rows, size=usual))).numpy()


def told_sizes(size: Array, coordinates: Array) -> ToldSizes:
    """Regression of the sizes of the runs of a fit, (runs,), on their coordinates, (runs, coordinates)."""
    design = np.column_stack([np.ones(len(size)), coordinates])
    centre = float(size.max())
    intercept, *slopes = np.linalg.lstsq(design, size - centre, rcond=None)[0]
    left = size - centre - design @ np.array([intercept, *slopes])
    return ToldSizes(centre + intercept, np.array(slopes), float(np.abs(left).max()))
