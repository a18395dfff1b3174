"""Curves whose lower envelope is the frontier: which configurations, where on the axis, at what compute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.cost import CostModel
from probscale.errors import ConfigError
from probscale.runs import RunLog
from probscale.runs.pools import Configs, pool_table

Array = NDArray[np.float64]

MOST_CELLS = 2_000
"""Configurations × points that are drawn jointly by default."""

FEWEST_POINTS, MOST_POINTS = 4, 24
"""Points of each curve, however many configurations there are."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Configurations and the places where their outputs are asked for.

    Attributes:
        pool: One row per configuration.
        asked: One row per question put to the surrogate: the pool, or one row per place where each is a run
            of its own.
        at: Axis values, (configs, points).
        cost: Compute at these, (configs, points).
        apart: Whether every place is a run of its own.
    """

    pool: pd.DataFrame
    asked: pd.DataFrame
    at: Array
    cost: Array
    apart: bool

    def ordered(self, order: NDArray[np.intp]) -> Candidates:
        """The same candidates in another order."""
        points = self.at.shape[1] if self.apart else 1
        rows = (order[:, None] * points + np.arange(points)).ravel()
        asked = self.asked.iloc[rows].reset_index(drop=True) if self.apart else self.asked.iloc[rows]
        return replace(
            self, pool=self.pool.iloc[order], asked=asked, at=self.at[order], cost=self.cost[order]
        )

    def arranged(self, draws: Array) -> Array:
        """Draws of the questions as draws of curves, (draws, configs, points)."""
        return draws.reshape(len(draws), *self.at.shape) if self.apart else draws

    @property
    def places(self) -> Array:
        """Axis values of the questions, (questions, points of each)."""
        return self.at.reshape(-1, 1) if self.apart else self.at


def candidates_of(
    log: RunLog, pool: Configs | None, cost: CostModel, compute: Array, until: float | None
) -> Candidates:
    """Candidates of a pool, or without one the runs of the log as far as they went.

    Without a horizon any prefix is a legal run, and curves are asked for along the whole range of compute.
    With one, a run is judged at its planned end: that of its row, or, where the pool gives none, each
    compute's own.

    Args:
        log: What the surrogate has learnt from.
        pool: Configurations.
        cost: Cost model.
        compute: Levels of compute, rising.
        until: Largest axis value of a run.

    Raises:
        ConfigError: if the pool is empty, or `until` leaves none of it.
    """
    frame = _observed(log) if pool is None else pool_table(pool)
    horizon = log.roles.horizon
    limit = np.full(len(frame), np.inf if until is None else float(until))
    if pool is None:
        last = log.points.groupby(log.roles.run, sort=False)[log.roles.axis].last()
        limit = np.minimum(limit, last.loc[frame[log.roles.run]].to_numpy(dtype=np.float64))
    known = frame[[name for name in frame if name in {log.roles.run, *log.roles.described}]]
    if horizon is not None and (pool is None or horizon in frame):
        ends = limit if pool is None else frame[horizon].to_numpy(dtype=np.float64)
        if (ends > limit * (1 + 1e-9)).all():
            raise ConfigError(
                f"every configuration of the pool is planned to go beyond until={until:g}; the first to end "
                f"does so at {ends.min():g}",
                until=until,
            )
        at = ends[:, None]
        return Candidates(frame, known, at, cost(frame, at), apart=False)
    count = int(np.clip(MOST_CELLS // len(frame), FEWEST_POINTS, MOST_POINTS))
    levels = np.geomspace(compute[0], compute[-1], min(count, len(compute))) if len(compute) > 1 else compute
    at = np.minimum(cost.axis_at(frame, np.tile(levels, (len(frame), 1))), limit[:, None])
    if horizon is None:
        return Candidates(frame, known, at, cost(frame, at), apart=False)
    each = np.repeat(np.arange(len(frame)), at.shape[1])
    asked = known.iloc[each].reset_index(drop=True).assign(**{horizon: at.ravel()})
    return Candidates(frame, asked, at, cost(frame, at), apart=True)


def first_place(log: RunLog) -> float:
    """First observed axis value, before which nothing is known."""
    return float(log.points[log.roles.axis].min())


def check_until(until: object, axis: str) -> None:
    """Refuse an end of runs that is none.

    Raises:
        ConfigError: unless it is None or a positive number.
    """
    if until is not None and not (isinstance(until, Real) and float(until) > 0):
        raise ConfigError(f"until is {until!r}; pass a positive value of {axis}, or None", until=until)


def _observed(log: RunLog) -> pd.DataFrame:
    return log.configs.assign(**{log.roles.run: log.runs})
