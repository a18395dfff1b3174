"""The abstract cost of a run, and how costs read configurations and axis values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from probscale.digest import short_digest
from probscale.errors import ConfigError, ShapeError
from probscale.spelling import close_names, did_you_mean

Configs: TypeAlias = pd.DataFrame | Sequence[Mapping[str, Any]]
Quantity: TypeAlias = str | float
"""The name of a configuration column, or a number shared by all runs."""


PROBED = np.array([1.0, 1000.0])
"""Axis values at which costs are compared."""

DOUBLINGS, HALVINGS = 200, 100
"""Most steps of a search for an axis value: out to where it must lie, then in to full precision."""


class Logged(Protocol):
    """What `CostModel.spent` needs of a run log."""

    @property
    def configs(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def points(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def roles(self) -> Any: ...  # noqa: D102


class CostModel(ABC):
    """Cumulative cost of training a configuration up to places on the axis.

    Subclasses implement `total`; a cost is zero at the start of the axis and never falls along it.

    Attributes:
        unit: What one unit of cost is, for tables and axes.
    """

    unit: str = "cost"

    @abstractmethod
    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:
        """Cost from the start of each run to `at`, both of shape (configs, points)."""

    def __call__(self, configs: Configs, at: ArrayLike) -> np.ndarray:
        """Cost of training each configuration from scratch to each axis value.

        Args:
            configs: Configurations, as a frame or a list of mappings.
            at: Axis values: one for all, giving shape (configs,); shape (points,), shared by all, or
                (configs, points), giving (configs, points).

        Returns:
            float64 costs in `unit`.

        Raises:
            ConfigError: for a missing column or a value without a cost.
            ShapeError: if `at` does not match the configurations.
        """
        table = _table(configs)
        places = _axis_values(at, "at")
        if places.ndim > 2 or (places.ndim == 2 and len(places) != len(table)):
            raise ShapeError(
                f"at has shape {places.shape}, but there are {len(table)} configurations; accepted are "
                f"one number, (points,) shared by all, or ({len(table)}, points)",
                shape=places.shape,
            )
        return self._evaluate(table, places if places.ndim else places[None], squeeze=places.ndim == 0)

    def increment(self, configs: Configs, start: ArrayLike, until: ArrayLike) -> np.ndarray:
        """Cost of resuming each run at `start` and training it to `until`.

        Args:
            configs: Configurations, one per run.
            start: Axis value reached so far: one for all, (configs,) or (configs, points).
            until: Axis value to reach, in the same shapes; at least `start`.

        Returns:
            float64 costs, shape (configs,), or (configs, points) if either argument has that shape.

        Raises:
            ConfigError: if `until` lies before `start`, or the cost is unknown.
            ShapeError: if a shape does not match.
        """
        table = _table(configs)
        before, after = (
            _per_config(value, len(table), name) for value, name in ((start, "start"), (until, "until"))
        )
        before, after = np.broadcast_arrays(before, after)
        if (after < before).any():
            row = int(np.argwhere(after < before)[0][0])
            raise ConfigError(
                f"until must not lie before start; configuration {row} goes from {before[row].flat[0]:g} to "
                f"{after[row].flat[0]:g}",
                row=row,
            )
        squeeze = np.ndim(start) < 2 and np.ndim(until) < 2
        return self._evaluate(table, after, squeeze) - self._evaluate(table, before, squeeze)

    def axis_at(self, configs: Configs, cost: ArrayLike) -> np.ndarray:
        """Axis values to which given costs train: the inverse of calling the model.

        Args:
            configs: Configurations, one per run.
            cost: Costs from the start of each run: one for all, (configs,) or (configs, points).

        Returns:
            float64 axis values, shape (configs,), or (configs, points) if `cost` has that shape. Costs
            proportional to the axis are inverted exactly, others by bisection; where a cost stays level the
            first axis value is meant.

        Raises:
            ConfigError: if a cost is negative or never reached.
            ShapeError: if the shape does not match.
        """
        table = _table(configs)
        wanted = _per_config(cost, len(table), "cost")
        wanted = np.broadcast_to(wanted, (len(table), wanted.shape[-1]))

        found = self.inverse(table, wanted)
        return found if np.ndim(cost) == 2 else found[:, 0]

    def inverse(self, configs: pd.DataFrame, cost: np.ndarray) -> np.ndarray:
        """Axis values of given costs, both of shape (configs, points); subclasses may know a shorter way."""

        def price(at: np.ndarray) -> np.ndarray:
            return self._evaluate(configs, at, squeeze=False)

        rate = price(np.ones((len(configs), 1)))
        guess = np.divide(cost, rate, out=np.ones_like(cost), where=rate > 0)
        if np.allclose(price(guess), cost, rtol=1e-12, atol=0.0):
            return guess
        return _bisected(price, cost, guess)

    def spent(self, log: Logged) -> pd.Series:
        """Cost of every run of a log up to its last point, indexed by run; its sum is the cost of the log."""
        last = log.points.groupby(log.roles.run, sort=False)[log.roles.axis].last().reindex(log.configs.index)
        configs = log.configs.reset_index(names=log.roles.run)
        return pd.Series(
            self.increment(configs, 0.0, last.to_numpy()), index=log.configs.index, name=self.unit
        )

    def digest(self, configs: Configs) -> str:
        """Short digest of what configurations cost: objects that hold a cost have no stable text.

        Raises:
            ConfigError: if the configurations have no cost.
        """
        try:
            costs = self(configs, PROBED)
        except ConfigError:
            # A recorded cost may end before; where it begins it has to be known.
            costs = self(configs, 0.0)
        return short_digest(np.array2string(costs, precision=12, threshold=10**9))

    def _evaluate(self, table: pd.DataFrame, places: np.ndarray, squeeze: bool) -> np.ndarray:
        full = np.broadcast_to(places, (len(table), places.shape[-1]))
        costs = np.asarray(self.total(table, full), dtype=np.float64)
        if costs.shape != full.shape:
            raise ShapeError(
                f"{type(self).__name__} returned shape {costs.shape} for (configs, points) = {full.shape}",
                shape=costs.shape,
            )
        bad = np.argwhere(~(np.isfinite(costs) & (costs >= 0)))
        if bad.size:
            row, point = map(int, bad[0])
            raise ConfigError(
                f"{type(self).__name__} gives {costs[row, point]} for configuration {row} at "
                f"{full[row, point]:g}; a cost must be finite and not negative",
                row=row,
            )
        return costs[:, 0] if squeeze else costs


def _bisected(price: Callable[[np.ndarray], np.ndarray], wanted: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Smallest axis values whose price is as wanted, to rounding."""
    low, high = np.zeros_like(wanted), np.maximum(guess, 1.0)
    for _ in range(DOUBLINGS):
        short = price(high) < wanted
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    else:
        row = int(np.argwhere(price(high) < wanted)[0][0])
        raise ConfigError(f"configuration {row} never costs {wanted[row].max():g}, however far it is trained")
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        short = price(middle) < wanted
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def _table(configs: Configs) -> pd.DataFrame:
    if isinstance(configs, pd.DataFrame):
        return configs
    rows = isinstance(configs, Sequence) and not isinstance(configs, str)
    if not rows or not all(isinstance(row, Mapping) for row in configs):
        raise ConfigError(
            f"configurations must be a DataFrame or a list of dicts, got {type(configs).__name__}; "
            "wrap a single one in a list"
        )
    return pd.DataFrame(list(configs))


def _axis_values(values: ArrayLike, name: str) -> np.ndarray:
    try:
        places = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} must hold finite axis values of at least 0, got {values!r}") from error
    bad = ~(np.isfinite(places) & (places >= 0))
    if bad.any():
        raise ConfigError(f"{name} must hold finite axis values of at least 0, got {places[bad].flat[0]:g}")
    return places


def _per_config(values: ArrayLike, count: int, name: str) -> np.ndarray:
    """Axis values as (configs or 1, points)."""
    places = _axis_values(values, name)
    if places.ndim > 2 or (places.ndim and len(places) != count):
        raise ShapeError(
            f"{name} has shape {places.shape}, but there are {count} configurations; accepted are "
            f"one number, ({count},) or ({count}, points)",
            shape=places.shape,
        )
    return places if places.ndim == 2 else np.broadcast_to(places, (count,))[:, None]


def column_values(configs: pd.DataFrame, name: str, role: str) -> pd.Series:
    """A column of the configurations.

    Raises:
        ConfigError: naming the column if it is absent, with close matches.
    """
    if name in configs.columns:
        return cast(pd.Series, configs[name])
    close = close_names(name, configs.columns, likeness=0.5)
    hint = did_you_mean(close) or f"they have: {', '.join(map(str, configs.columns))}"
    raise ConfigError(
        f"the configurations have no column {name!r}, which the cost needs as {role}; {hint}", column=name
    )


def positive(configs: pd.DataFrame, value: Quantity, role: str, *, zero: bool = False) -> np.ndarray:
    """A quantity per configuration, shape (configs,), checked to be positive, or with `zero` not negative."""
    if isinstance(value, str):
        column = cast(pd.Series, pd.to_numeric(column_values(configs, value, role), errors="coerce"))
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = np.full(len(configs), float(value))
    bad = ~(np.isfinite(numbers) & ((numbers >= 0) if zero else (numbers > 0)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        given = configs[value].tolist()[row] if isinstance(value, str) else value
        accepted = "a number of at least 0" if zero else "a positive number"
        raise ConfigError(
            f"{role} must be {accepted}; configuration {row} has {given!r}"
            + (f" in {value!r}" if isinstance(value, str) else ""),
            row=row,
        )
    return numbers
