"""Joint draws of the curves of a frontier's candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probscale.cost import CostModel
from probscale.envelope import crossings
from probscale.runs.order import canonical_order, table_order
from probscale.runs.pools import Configs
from probscale.scaling.candidates import Candidates, candidates_of, first_place
from probscale.surrogate import CurveSurrogate

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DrawnCurves:
    """Draws of curves, in an order that follows from what the candidates are.

    Attributes:
        found: Candidates, in that order.
        order: Rows of the pool that they are.
        draws: Their curves, (draws, configs, points), NaN where nothing is known.
        begun: Where something is, (configs, points).
        bounds: Smallest and largest possible output.
    """

    found: Candidates
    order: NDArray[np.intp]
    draws: Array
    begun: NDArray[np.bool_]
    bounds: tuple[float, float]

    @property
    def spent(self) -> Array:
        """Compute at each point, never falling, (configs, points)."""
        return np.maximum.accumulate(self.found.cost, axis=1)

    def at(self, levels: Array) -> Array:
        """Draws at levels of compute, (draws, configs, levels)."""
        return crossings(self.spent, levels).at(self.draws)


def drawn_curves(
    surrogate: CurveSurrogate,
    pool: Configs | None,
    cost: CostModel,
    levels: Array,
    until: float | None,
    samples: int,
    seed: int,
) -> DrawnCurves:
    """Curves of a pool where its configurations meet levels of compute.

    Before the first observed axis value nothing is known; such cells must not look like bargains.

    Cost: O((configs × points)³).
    """
    log = surrogate.log
    found = candidates_of(log, pool, cost, levels, until)
    # Curves are drawn in an order of their own, and so are ties decided.
    order = canonical_order(log) if pool is None else table_order(found.pool, log.roles.run, found.at)
    found = found.ordered(order)
    curves = surrogate.predict(found.asked, found.places).latent()
    draws = found.arranged(curves.sample(samples, seed=seed))
    begun = (found.at >= first_place(log) * (1 - 1e-9)) & (found.at <= (until or math.inf) * (1 + 1e-9))
    return DrawnCurves(found, order, np.where(begun, draws, np.nan), begun, curves.bounds)
