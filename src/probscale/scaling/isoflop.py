"""IsoFLOP curves: the best output of each model size when all sizes spend the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.cost import CostModel, as_cost
from probscale.envelope import best_of, given_levels
from probscale.errors import ConfigError
from probscale.runs.order import canonical, table_order
from probscale.runs.pools import Configs, pool_table
from probscale.scaling.draws import Draws
from probscale.surrogate import CurveSurrogate
from probscale.surrogate.curves import check_fitted

Array = NDArray[np.float64]

MOST_CELLS = 3_000
"""Levels × configurations that are drawn jointly."""

REACH = 4.0
"""Longest runs asked about, in longest observed runs."""


@dataclass(frozen=True, eq=False)
class Isoflops:
    """Posterior of the best output of each size at each level of compute.

    Attributes:
        compute: Levels of compute, rising, (levels,).
        params: Model sizes, rising, (sizes,).
        at: Axis value that the best configuration of a size reaches, (levels, sizes).
        loss: Best output over the configurations of a size: draws of (levels, sizes); NaN where a level
            is spent before the first axis value ever observed, or lasts past `until`.
        beyond: Whether that axis value lies past the longest observed run, (levels, sizes).
        goal: "min" or "max".
        unit: Unit of the compute.
        params_name: Column of the model size.
        output: Name of the output.
    """

    compute: Array
    params: Array
    at: Array
    loss: Draws
    beyond: NDArray[np.bool_]
    goal: str
    unit: str
    params_name: str
    output: str

    @property
    def best(self) -> Array:
        """Size with the best expected output at each level, (levels,); NaN where no size has one."""
        mean = self.loss.mean
        known = np.isfinite(mean).any(axis=1)
        _, position = best_of(mean.T, self.goal)
        return np.where(known, self.params[position], np.nan)

    def to_frame(self, level: float = 0.9) -> pd.DataFrame:
        """One row per level and size: axis value, mean and interval of the best output."""
        lower, upper = self.loss.interval(level)
        shape = self.at.shape
        return pd.DataFrame(
            {
                "compute": np.repeat(self.compute, shape[1]),
                self.params_name: np.tile(self.params, shape[0]),
                "at": self.at.ravel(),
                "mean": self.loss.mean.ravel(),
                "lower": lower.ravel(),
                "upper": upper.ravel(),
                "beyond": self.beyond.ravel(),
            }
        )


def fit_isoflops(
    surrogate: CurveSurrogate,
    pool: Configs | None = None,
    *,
    compute: ArrayLike,
    cost: CostModel,
    until: float | None = None,
    seed: int = 0,
    samples: int = 256,
) -> Isoflops:
    """IsoFLOP curves of a pool: at each level every size spends the same, with its own best settings.

    Args:
        surrogate: Fitted surrogate of a log with a params role.
        pool: Configurations; by default the distinct ones of the log.
        compute: Levels of compute, rising, in the unit of `cost`.
        cost: Cost model.
        until: Largest axis value; sizes that would train further are left out of a level. By default four
            times the longest observed run: curves further out are guesses.
        seed: Seed of the draws.
        samples: Number of joint posterior draws.

    Raises:
        ConfigError: without a params role, or if the pool is empty or too large for one joint posterior.

    Cost: O((configs × levels)³), with up to 3,000 of them.

    Source: Hoffmann et al. 2022, approach 2.
    """
    check_fitted(surrogate, "fit_isoflops")
    roles, cost = surrogate.log.roles, as_cost(cost)
    frame = _pool(surrogate, pool)
    levels = np.unique(given_levels(compute))
    if len(frame) * len(levels) > MOST_CELLS:
        raise ConfigError(
            f"compute has {len(levels)} levels for {len(frame)} configurations; accepted are at most "
            f"{MOST_CELLS:,} levels × configurations; a few levels are enough"
        )
    at = cost.axis_at(frame, np.tile(levels, (len(frame), 1)))
    draws = _draws(surrogate, frame, at, samples, seed)
    axis = surrogate.log.points[roles.axis].to_numpy(dtype=np.float64)
    furthest = REACH * axis.max() if until is None else float(until)
    asked = (at >= axis.min() * (1 - 1e-9)) & (at <= furthest * (1 + 1e-9))
    draws = np.where(asked, draws, np.nan)
    sizes = frame[roles.params].to_numpy(dtype=np.float64)
    params = np.unique(sizes)
    best, reached = np.empty((samples, len(levels), len(params))), np.empty((len(levels), len(params)))
    for column, size in enumerate(params):
        rows = np.flatnonzero(sizes == size)
        best[:, :, column] = best_of(draws[:, rows], roles.goal)[0]
        reached[:, column] = np.median(at[rows], axis=0)
    beyond = reached > axis.max() * (1 + 1e-9)
    output = surrogate.log.output
    return Isoflops(
        levels, params, reached, Draws(best), beyond, roles.goal, cost.unit, str(roles.params), output
    )


def _pool(surrogate: CurveSurrogate, pool: Configs | None) -> pd.DataFrame:
    size = surrogate.log.roles.params
    if size is None:
        raise ConfigError("isoFLOP curves compare model sizes; give the log a params role, params='N_params'")
    given = canonical(surrogate.log).configs.drop_duplicates() if pool is None else pool
    frame = pool_table(given)
    if size not in frame:
        raise ConfigError(f"the pool has no column {size!r}, the model size; isoFLOP curves compare sizes")
    # Draws follow the order of the rows; a pool's own says nothing.
    return frame.iloc[table_order(frame, surrogate.log.roles.run)].reset_index(drop=True)


def _draws(surrogate: CurveSurrogate, frame: pd.DataFrame, at: Array, samples: int, seed: int) -> Array:
    """Joint draws, (draws, configs, levels); with a planned end every level is a run of its own."""
    roles = surrogate.log.roles
    known = frame[[name for name in frame if name in roles.described]]
    if roles.horizon is None:
        return surrogate.predict(known, at).latent().sample(samples, seed=seed)
    each = np.repeat(np.arange(len(frame)), at.shape[1])
    asked = known.iloc[each].reset_index(drop=True).assign(**{roles.horizon: at.ravel()})
    curves = surrogate.predict(asked, at.reshape(-1, 1)).latent()
    return curves.sample(samples, seed=seed).reshape(samples, *at.shape)
