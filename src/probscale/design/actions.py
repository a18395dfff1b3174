"""Actions of a design: which run to train, from where, and how far."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

UNREACHABLE = 1e300
"""Cost of what may not be trained."""

OVERHEAD = 0.05
"""What starting or resuming a run costs besides training, as a share of the price of the whole run.

Set-up, warm-up, and points too early to be part of any trend: per unit of training cost alone, the first
points of a run are almost free and always seem the best bargain.
"""


@dataclass(frozen=True, eq=False)
class Actions:
    """Legal next steps over a grid of cells.

    Attributes:
        at: Axis values of the grid, (configs, points).
        total: Cost of each configuration from scratch to each point, (configs, points).
        reached: Axis value each run has been trained to, (configs,); zero for new runs.
        paid: Cost of getting there, (configs,).
        depths: Points at which a run may be stopped, (configs, points).
        allowed: Configurations that may be trained, (configs,).
        dearest: Most that one action may cost.
    """

    at: Array
    total: Array
    reached: Array
    paid: Array
    depths: NDArray[np.bool_]
    allowed: NDArray[np.bool_]
    dearest: float = np.inf

    @property
    def table(self) -> pd.DataFrame:
        """One row per legal action: config and point (positions), until, cost of the increment."""
        config, point = np.nonzero(self.legal)
        cost = self.total[config, point] - self.paid[config]
        return pd.DataFrame({"config": config, "point": point, "until": self.at[config, point], "cost": cost})

    def effort(self, overhead: float) -> Array:
        """Cost of the legal actions with that of a start, (actions,).

        Args:
            overhead: Cost of a start, as a share of the price of the whole run.
        """
        config, point = np.nonzero(self.legal)
        return self.total[config, point] - self.paid[config] + overhead * self.total[config, -1]

    @property
    def legal(self) -> NDArray[np.bool_]:
        """Which points a run may be trained to next, (configs, points)."""
        ahead = self.at > self.reached[:, None] * (1 + 1e-12)
        affordable = self.total - self.paid[:, None] <= self.dearest * (1 + 1e-12)
        return self.depths & self.allowed[:, None] & ahead & affordable

    @property
    def pending(self) -> NDArray[np.bool_]:
        """Which cells are not measured yet, (configs, points)."""
        return self.at > self.reached[:, None] * (1 + 1e-12)

    def block(self, config: int, point: int) -> Positions:
        """Cells that training a run up to a point measures, flat positions in the grid."""
        points = np.flatnonzero(self.pending[config, : point + 1])
        return config * self.at.shape[1] + points

    def taken(self, config: int, point: int) -> Actions:
        """The actions left once a run has been trained up to a point."""
        reached, paid = self.reached.copy(), self.paid.copy()
        reached[config], paid[config] = self.at[config, point], self.total[config, point]
        return replace(self, reached=reached, paid=paid)

    def without(self, config: int) -> Actions:
        """The actions on other configurations."""
        allowed = self.allowed.copy()
        allowed[config] = False
        return replace(self, allowed=allowed)

    def within(self, budget: float) -> Actions:
        """The actions that a budget allows."""
        return replace(self, dearest=min(self.dearest, budget))

    def ordered(self, order: Positions) -> Actions:
        """The same actions on configurations in another order."""
        return replace(
            self,
            at=self.at[order],
            total=self.total[order],
            reached=self.reached[order],
            paid=self.paid[order],
            depths=self.depths[order],
            allowed=self.allowed[order],
        )

    def padded(self, at: Array) -> Actions:
        """The same actions on a grid with further rows, which may not be trained."""
        extra = len(at) - len(self.at)
        free = np.zeros(extra)
        # Rows that no budget reaches never enter the frontier.
        beyond = np.full((extra, at.shape[1]), UNREACHABLE)
        stop = np.zeros((extra, at.shape[1]), dtype=bool)
        return replace(
            self,
            at=at,
            total=np.concatenate([self.total, beyond]),
            reached=np.concatenate([self.reached, free]),
            paid=np.concatenate([self.paid, free]),
            depths=np.concatenate([self.depths, stop]),
            allowed=np.concatenate([self.allowed, free.astype(bool)]),
        )
