"""Which transform suits scores: cells and level values left out in turn, each point foretold under each.

The evidence of whole curves is mostly about how smooth they are; what a new configuration will reach is a
question to what was left out, point by point.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState
from probscale.model.transforms import LogFloor, OutputTransform, choose_transform, log_slope
from probscale.surrogate.averaging import left_out_groups
from probscale.surrogate.prepare import Prepared

Array = NDArray[np.float64]

FEWEST_SIZES = 3
"""Model sizes from which on the largest is left out too: what suits known sizes need not suit the next."""


def left_out_density(points: Prepared, state: ExactState) -> float:
    """`left_out` in output units.

    Args:
        points: Points, their cells and transform.
        state: Posterior given all of them.

    Cost: O(points³) per level.
    """
    return left_out(state, points.cells) + float(log_slope(points.transform, points.output).mean())


@torch.no_grad()
def left_out(state: ExactState, cells: NDArray[np.intp]) -> float:
    """Mean log density of single points, modelled scale, when their cell or a value of a level was left out.

    Cells are left out in turn, and then the values of each level; of three model sizes or more, also the
    largest. The means of these parts are averaged. Parameters stay those of the fit.

    Args:
        state: Posterior given all points.
        cells: Cell of each of them, (points,).

    Cost: O(points³) per level.
    """
    y, noise = state.data.y, state.process.noise(state.data.rows).cpu()
    densities = []
    for groups in left_out_groups(state, cells):
        residual, variance = state.leave_groups_out(groups)
        normal = torch.distributions.Normal(y - residual, (variance + noise).sqrt())
        densities.append(float(normal.log_prob(y).mean()))
    size, distinct = distinct_sizes(state.data.rows.size.numpy())
    if len(distinct) >= FEWEST_SIZES:
        densities.append(float(state.density_without(np.flatnonzero(size == distinct[-1])).mean()))
    return float(np.mean(densities))


def distinct_sizes(size: Array) -> tuple[Array, Array]:
    """Logarithms of model sizes, those that differ by rounding alike, and each of them once, in order."""
    alike = size.round(6)
    return alike, np.unique(alike)


def log_odds_for(chosen: OutputTransform, output: Array, goal: str) -> OutputTransform | None:
    """Log odds for scores whose best is known, where what they lack of it was chosen; else None.

    Args:
        chosen: Transform that suits the outputs.
        output: Outputs, user units, (points,).
        goal: "min" or "max".
    """
    if isinstance(chosen, LogFloor) and chosen.upper is not None:
        return choose_transform(output, goal, kind="score")
    return None
