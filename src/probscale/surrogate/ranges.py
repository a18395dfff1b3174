"""Settings given as ranges in place of a pool: the candidates to compare, and the best found between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_integer_dtype
from scipy.stats import qmc

from probscale.errors import ConfigError
from probscale.runs import RunLog
from probscale.runs.schema import listed
from probscale.spelling import close_names, did_you_mean

Array = NDArray[np.float64]

SPREAD = 256
"""Candidates spread evenly over all ranges."""

NEAR = 64
"""Candidates near the best ones, per round of the search."""

LEADERS = 4
"""Best candidates around which a round searches."""

STEPS = (0.1, 0.03, 0.01)
"""Deviations of a round's candidates from these, as shares of each range."""

WIDE = 5.0
"""Ratio of the ends of a range above which it is searched by its logarithm."""


def are_ranges(pool: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a pool gives settings as ranges or choices, not as configurations."""
    return isinstance(pool, Mapping) and any(
        isinstance(value, tuple | list | np.ndarray | range) for value in pool.values()
    )


def candidates(
    ranges: Mapping[str, Any],
    log: RunLog,
    badness: Callable[[pd.DataFrame], Array],
    seed: int,
) -> pd.DataFrame:
    """Configurations spread over ranges, and the best found by searching on near the best of them.

    Args:
        ranges: For each setting a range (low, high), a list of choices, or one value.
        log: Run log of the fit: columns of whole numbers stay so.
        badness: What is to be small, of a table of configurations, (configs,).
        seed: Seed of the candidates.

    Returns:
        A table with one configuration a row, without duplicates; the best found is among them.

    Raises:
        ConfigError: for a range whose ends are no numbers or not in order, a list without choices, or a range
            or choices of a setting that the log does not have.

    Cost: forecasts of at most 448 configurations.

    Source: scrambled Sobol points, Owen 1998.
    """
    axes = [_axis(str(name), value, log) for name, value in ranges.items()]
    _check_known(axes, log)
    generator = np.random.default_rng(seed)
    # The name from before scipy 1.15, which later ones take too.
    points = qmc.Sobol(len(axes), seed=generator).random(SPREAD)  # pyright: ignore[reportCallIssue]
    spread = _table(axes, points)
    seen, worths = points, badness(spread)
    for step in STEPS:
        leaders = seen[np.argsort(worths, kind="stable")[:LEADERS]]
        near = np.repeat(leaders, NEAR // LEADERS, axis=0)
        moved = np.clip(near + step * generator.standard_normal(near.shape), 0.0, 1.0)
        seen = np.concatenate([seen, moved])
        worths = np.concatenate([worths, badness(_table(axes, moved))])
    found = _table(axes, seen[[int(np.argmin(worths))]])
    return pd.concat([spread, found]).drop_duplicates().reset_index(drop=True)


@dataclass(frozen=True)
class _Axis:
    """Values of one setting, by a share between 0 and 1: choices in turn, or all between two ends.

    Attributes:
        name: Column.
        ends: Ends of the range.
        choices: Values in its place, where there are any.
        whole: Whether values are whole numbers.
    """

    name: str
    ends: tuple[float, float] = (0.0, 0.0)
    choices: Sequence[Any] = ()
    whole: bool = False

    def at(self, share: Array) -> list[Any]:
        """Values at shares, (rows,)."""
        if len(self.choices):
            places = np.minimum((share * len(self.choices)).astype(int), len(self.choices) - 1)
            return [self.choices[place] for place in places]
        low, high = self.ends
        if wide(low, high):
            values = np.exp(np.log(low) + share * np.log(high / low)).clip(low, high).tolist()
        else:
            values = (low + share * (high - low)).tolist()
        return [round(value) for value in values] if self.whole else values


def wide(low: float, high: float) -> bool:
    """Whether a range is searched by its logarithm."""
    return low > 0 and high / low > WIDE


def _axis(name: str, value: Any, log: RunLog) -> _Axis:
    """How one setting is searched."""
    if not isinstance(value, tuple):
        values = list(value) if isinstance(value, list | np.ndarray | range) else [value]
        if not values:
            raise ConfigError(f"{name!r} has no choices; list at least one value", column=name)
        return _Axis(name, choices=values)
    numbers = len(value) == 2 and all(
        isinstance(end, int | float | np.number) and not isinstance(end, bool) and np.isfinite(end)
        for end in value
    )
    if not numbers or not value[0] < value[1]:
        raise ConfigError(
            f"{name!r} is {value!r}, which is no range; pass two numbers (low, high), the lower one first, "
            "or a list of the values to choose among",
            column=name,
        )
    low, high = float(value[0]), float(value[1])
    if name not in log.configs or not is_integer_dtype(log.configs[name]):
        return _Axis(name, (low, high))
    first, last = math.ceil(low), math.floor(high)
    if first > last:
        raise ConfigError(f"{name!r} lies in {value!r}, without a whole number; widen it", column=name)
    if wide(first, last) or last - first > SPREAD:
        return _Axis(name, (first, last), whole=True)
    return _Axis(name, choices=range(first, last + 1))


def _check_known(axes: list[_Axis], log: RunLog) -> None:
    """Refuse to search a setting of which the log says nothing."""
    strange = [axis.name for axis in axes if len(axis.choices) != 1 and axis.name not in log.roles.described]
    if strange:
        close = close_names(strange[0], log.roles.described)
        hint = did_you_mean(close) or f"settings of the log are: {listed(log.roles.described)}"
        raise ConfigError(
            f"no run of the log has {strange[0]!r}, so that nothing is known of what it does; {hint}",
            column=strange[0],
            close=close,
        )


def _table(axes: list[_Axis], points: Array) -> pd.DataFrame:
    """Configurations at points of the unit cube, (rows, settings)."""
    return pd.DataFrame({axis.name: axis.at(points[:, i]) for i, axis in enumerate(axes)})
