"""Which transform suits scores: cells and level values left out in turn, each point foretold under each.

The evidence of whole curves is mostly about how smooth they are; what a new configuration will reach is a
question to what was left out, point by point.
"""

from __future__ import annotations

import numpy as np
import torch

from probscale.model.exact import ExactState
from probscale.model.transforms import log_slope
from probscale.surrogate.averaging import left_out_groups
from probscale.surrogate.prepare import Prepared

FEWEST_SIZES = 3
"""Model sizes from which on the largest is left out too: what suits known sizes need not suit the next."""


@torch.no_grad()
def left_out_density(points: Prepared, state: ExactState) -> float:
    """Mean log density of single points, output units, when their cell or a value of a level was left out.

    Cells are left out in turn, and then the values of each level; of three model sizes or more, also the
    largest. The means of these parts are averaged. Parameters stay those of the fit.

    Args:
        points: Points, their cells and transform.
        state: Posterior given all of them.

    Cost: O(points³) per level.
    """
    y, noise = points.data.y, state.process.noise(points.data.rows).cpu()
    slope = float(log_slope(points.transform, points.output).mean())
    densities = []
    for groups in left_out_groups(state, points.cells):
        residual, variance = state.leave_groups_out(groups)
        normal = torch.distributions.Normal(y - residual, (variance + noise).sqrt())
        densities.append(float(normal.log_prob(y).mean()))
    size = points.data.rows.size.numpy().round(6)
    distinct = np.unique(size)
    if len(distinct) >= FEWEST_SIZES:
        densities.append(float(state.density_without(np.flatnonzero(size == distinct[-1])).mean()))
    return float(np.mean(densities)) + slope
