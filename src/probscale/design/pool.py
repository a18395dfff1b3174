"""Pools: which configurations may be trained, on which grid, at what cost."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.cost import CostModel
from probscale.design.actions import Actions
from probscale.errors import ConfigError, UnknownColumnWarning
from probscale.runs import RunLog
from probscale.runs.pools import Configs, pool_table
from probscale.surrogate.query import completed, read_at

Array = NDArray[np.float64]
Depths = Literal["full", "any"] | ArrayLike

POINTS = 12
"""Points of the default grid of a pool."""

MOST_CELLS = 2_000
"""Configurations × points whose joint covariance is held (32 MB)."""

RESERVED = ("until", "score", "cost")
"""Columns that answers add to those of the pool."""


@dataclass(frozen=True)
class Constraints:
    """What an action of a pool must satisfy.

    Attributes:
        max_cost: Most that one action may cost.
        allowed: Column to the values it may take.
        where: Function of the pool that gives one truth value per row, for example a bound on memory.
    """

    max_cost: float | None = None
    allowed: Mapping[str, Collection[Any]] | None = None
    where: Callable[[pd.DataFrame], Any] | None = None

    def __post_init__(self) -> None:
        limit_of(self.max_cost, "max_cost")
        if self.where is not None and not callable(self.where):
            raise ConfigError(
                f"where is {self.where!r}; pass a function of the pool, such as "
                "lambda pool: pool['memory'] < 80",
                where=self.where,
            )
        if self.allowed is not None and not isinstance(self.allowed, Mapping):
            raise ConfigError(
                f"allowed is a {type(self.allowed).__name__}; pass a dict of columns and the values each "
                "may take"
            )
        for name, values in (self.allowed or {}).items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise ConfigError(
                    f"allowed gives {values!r} for {name!r}; pass a list of values, [{values!r}]", column=name
                )

    def mask(self, pool: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows of a pool may be trained.

        Raises:
            ConfigError: for an unknown column, a mask of the wrong length or with missing values, or when no
                row is left.
        """
        keep = np.ones(len(pool), dtype=bool)
        for name, values in (self.allowed or {}).items():
            if name not in pool:
                raise ConfigError(f"allowed names {name!r}, which the pool does not have", column=name)
            keep &= pool[name].isin(list(values)).to_numpy()
        if self.where is not None:
            keep &= _truths(self.where(pool), pool.index)
        if not keep.any():
            raise ConfigError("no configuration of the pool meets the constraints; relax allowed= or where=")
        return keep


def limit_of(value: float | None, name: str) -> float:
    """A limit on costs; None is none, infinity.

    Raises:
        ConfigError: for what is no number.
    """
    if value is None:
        return np.inf
    if not isinstance(value, Real) or np.isnan(float(value)):
        raise ConfigError(
            f"{name} is {value!r}; pass a number in the unit of the cost, or None for no limit",
            **{name: value},
        )
    return float(value)


def _truths(given: Any, index: pd.Index) -> NDArray[np.bool_]:
    """Truth values of the rows of a pool; a series in another order is read by its labels.

    Raises:
        ConfigError: if there is not one for each row, or one is missing.
    """
    if isinstance(given, pd.Series) and index.is_unique and len(given) == len(index):
        labels = cast(pd.Index, given.index)
        given = given.reindex(index) if labels.isin(index).all() and labels.is_unique else given
    values = np.asarray(given)
    if values.shape != (len(index),):
        raise ConfigError(f"where gave shape {values.shape}; the pool has {len(index)} rows, one each")
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise ConfigError(
            f"where gave {values[missing[0]]} for row {missing[0]} of the pool; give True or False for each, "
            "for example with .fillna(False)",
            row=int(missing[0]),
        )
    return values.astype(bool)


def read_pool(pool: Configs, log: RunLog) -> pd.DataFrame:
    """A pool as a frame; its index is kept, and rows that name a run of the log are filled in from it.

    An earlier answer of `suggest` is a pool, too: the columns that it added are left out, with a warning.

    Raises:
        ConfigError: if it is empty, not a table, or uses a reserved column.
    """
    frame = completed(pool_table(pool), log)
    taken = [name for name in RESERVED if name in frame]
    if len(taken) == len(RESERVED) and not set(taken) & set(log.roles.described):
        warnings.warn(
            f"columns {', '.join(taken)} of the pool are those of an earlier answer; they are made anew",
            UnknownColumnWarning,
            stacklevel=3,
        )
        return frame.drop(columns=taken)
    if taken:
        raise ConfigError(f"column {taken[0]!r} of the pool is needed for the answer; rename it")
    return frame


def known_columns(frame: pd.DataFrame, log: RunLog) -> pd.DataFrame:
    """Columns of a pool that a log has too; the others serve costs and constraints only."""
    known = {log.roles.run, *log.roles.described}
    return frame[[name for name in frame.columns if name in known]]


def grid_of(frame: pd.DataFrame, log: RunLog, at: ArrayLike | None) -> Array:
    """Axis values of a pool's grid, (configs, points).

    By default up to the planned end of each configuration where the log has a horizon: twelve, geometric.
    Else points of the log, up to the longest observed run: all where they are few, at most twelve otherwise,
    spread geometrically.

    Raises:
        ConfigError: if `at` is not positive and rising, or the pool lacks the horizon.
    """
    roles = log.roles
    if at is not None:
        grid = read_at(at, len(frame), roles.axis)
        if not (grid > 0).all() or not (np.diff(grid, axis=1) > 0).all():
            raise ConfigError(f"at must hold positive, rising values of {roles.axis}")
        return grid
    observed = np.unique(log.points[roles.axis].to_numpy(dtype=np.float64))
    observed = observed[observed > 0]
    if roles.horizon is not None:
        if roles.horizon not in frame or bool(frame[roles.horizon].isna().any()):
            raise ConfigError(
                f"the runs of the log have a planned end, {roles.horizon!r}; give each row of the pool one, "
                "or pass at=",
                column=roles.horizon,
            )
        ends = frame[roles.horizon].to_numpy(dtype=np.float64)[:, None]
        return ends * np.geomspace(1 / 64, 1, POINTS)
    if len(observed) > POINTS:
        places = np.log(np.geomspace(np.quantile(observed, 0.02), observed[-1], POINTS))
        # Where runs were measured, runs can stop: epochs are whole.
        observed = np.unique([observed[np.abs(np.log(observed) - place).argmin()] for place in places])
    return np.broadcast_to(observed, (len(frame), len(observed)))


def depths_of(grid: Array, log: RunLog, depths: Depths | None) -> NDArray[np.bool_]:
    """Points at which runs may be stopped, (configs, points).

    By default only whole runs where the log has a horizon, since with a decayed schedule a prefix is not a
    shorter run; any point of the grid otherwise.

    Raises:
        ConfigError: for an unknown word, or a depth that is no point of the grid.
    """
    if depths is None:
        depths = "any" if log.roles.horizon is None else "full"
    if isinstance(depths, str):
        if depths not in ("full", "any"):
            raise ConfigError(f'depths is {depths!r}; accepted are "full", "any" or axis values')
        mask = np.zeros(grid.shape, dtype=bool)
        mask[:, -1 if depths == "full" else slice(None)] = True
        return mask
    wanted = np.asarray(depths, dtype=np.float64).ravel()
    if not len(wanted):
        raise ConfigError('depths is empty; pass "full", "any" or at least one axis value')
    close = np.isclose(grid[:, :, None], wanted, rtol=1e-9, atol=0.0)
    if not close.any(axis=(0, 1)).all():
        absent = wanted[~close.any(axis=(0, 1))][0]
        raise ConfigError(f"depth {absent:g} is no point of the grid; choose among the values of at=")
    return np.asarray(close.any(axis=2))


def progress_of(frame: pd.DataFrame, log: RunLog) -> Array:
    """Axis value that each row of a pool has been trained to; zero for runs the log does not know."""
    run = log.roles.run
    if run not in frame:
        return np.zeros(len(frame))
    last = log.points.groupby(run, sort=False)[log.roles.axis].last()
    return frame[run].map(last).fillna(0.0).to_numpy(dtype=np.float64)


def actions_of(
    frame: pd.DataFrame,
    log: RunLog,
    cost: CostModel,
    *,
    grid: Array,
    depths: NDArray[np.bool_],
    constraints: Constraints,
) -> Actions:
    """Legal actions of a pool, increments priced."""
    reached = progress_of(frame, log)
    total = cost(frame, grid)
    paid = cost(frame, reached[:, None])[:, 0]
    dearest = limit_of(constraints.max_cost, "max_cost")
    return Actions(grid, total, reached, paid, depths, constraints.mask(frame), dearest)


def thinned(
    order: NDArray[np.intp],
    points: int,
    *,
    keep: NDArray[np.bool_],
    legal: NDArray[np.bool_],
    seed: int,
) -> NDArray[np.intp]:
    """Rows of a pool that fit into one joint covariance: those to keep, then others at random.

    Where few rows may be trained, the lot could miss them; at least half of the places are for these.

    Args:
        order: Rows in an order that follows from what they hold, in which the lot is drawn.
        points: Points of the grid.
        keep: Rows to keep.
        legal: Rows that may be trained.
        seed: Seed of the lot.
    """
    most = max(MOST_CELLS // points, 1)
    if len(order) <= most:
        return np.arange(len(order))
    drawn = np.random.default_rng(seed).permutation(order)
    drawn = drawn[np.argsort(~keep[drawn], kind="stable")]
    chosen, rest = drawn[:most], drawn[most:]
    lacking = min((most + 1) // 2, int(legal.sum())) - int(legal[chosen].sum())
    if lacking > 0:
        leaving = np.flatnonzero(~legal[chosen])[-lacking:]
        chosen = np.r_[np.delete(chosen, leaving), rest[legal[rest]][:lacking]]
    return np.sort(chosen)
