"""Which transform suits scores: cells left out in turn, foretold under each, compared in output units.

The evidence of whole curves is mostly about how smooth they are; what a new configuration will reach is a
question to left-out cells. Scores in output units compare transforms without a Jacobian.
"""

from __future__ import annotations

import numpy as np
import torch

from probscale.model.exact import ExactState
from probscale.surrogate.prepare import Prepared

LEVELS = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
"""Quantiles whose pinball losses are averaged."""


@torch.no_grad()
def left_out_crps(points: Prepared, state: ExactState) -> float:
    """Mean CRPS of points of cells left out in turn, output units; parameters stay those of the fit.

    Args:
        points: Points, their cells and transform.
        state: Posterior given all of them.

    Cost: O(points³).

    Source: Gneiting and Raftery 2007; an integral of pinball losses, here over 19 quantiles.
    """
    residual, variance = state.leave_groups_out(points.cells)
    noise = state.process.noise(points.data.rows).cpu()
    normal = torch.distributions.Normal(points.data.y - residual, (variance + noise).sqrt())
    levels = LEVELS[:, None]
    quantiles = np.sort(points.transform.inverse(normal.icdf(levels).numpy()), axis=0)
    missed = points.output - quantiles
    return float(2 * np.maximum(levels.numpy() * missed, (levels.numpy() - 1) * missed).mean())
