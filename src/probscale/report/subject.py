"""What a page is about: the log, what running costs, and which runs could come next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.cost import CostModel, FlopsCost, RateCost, as_cost
from probscale.runs import RunLog
from probscale.runs.order import canonical
from probscale.runs.pools import pool_table
from probscale.surrogate import CurveSurrogate

Array = NDArray[np.float64]

Origin: TypeAlias = Literal["given", "never run", "run before"]

MOST_CANDIDATES = 150


@dataclass(frozen=True, eq=False)
class Subject:
    """A log with all that the sections of its page share.

    Attributes:
        surrogate: Fitted to the whole log.
        cost: Cost model.
        unit: Unit of the output, for labels; None if unknown.
        candidates: Runs that could come next.
        origin: Where these come from: given, or the log's own settings, combined as they were never run or as
            they were.
        seed: Seed of all draws.
    """

    surrogate: CurveSurrogate
    cost: CostModel
    unit: str | None
    candidates: pd.DataFrame
    origin: Origin
    seed: int

    @property
    def log(self) -> RunLog:
        """The runs."""
        return self.surrogate.log

    @property
    def shown_unit(self) -> str:
        """Unit of the output as labels name it."""
        return self.unit or "unit of the log"

    @property
    def rising(self) -> bool:
        """Whether larger outputs are better."""
        return self.log.roles.goal == "max"

    @cached_property
    def reach(self) -> float:
        """Longest observed run, axis value."""
        return float(self.log.points[self.log.roles.axis].max())

    @cached_property
    def focus(self) -> RunLog:
        """Runs of the task with most of them; the log itself without levels."""
        levels = list(self.log.roles.levels)
        if not levels:
            return self.log
        most = self.log.configs[levels].value_counts(dropna=False).index[0]
        same = np.ones(self.log.n_runs, dtype=bool)
        for name, value in zip(levels, most, strict=True):
            same &= (self.log.configs[name] == value).to_numpy()
        return self.log.select(same) if same.any() else self.log

    @property
    def of_task(self) -> str:
        """A sentence on the task of the candidates, with a space before it; empty where they say it."""
        if self.origin == "given" or not self.focus_words:
            return ""
        return f" All are of {self.focus_words}; no task has more runs."

    @property
    def focus_words(self) -> str:
        """Which task the focus is, in words; empty where it is the whole log."""
        if self.focus.n_runs == self.log.n_runs:
            return ""
        names = self.log.roles.levels
        return ", ".join(f"{name} {self.focus.configs[name].iloc[0]}" for name in names)


def subject_of(
    surrogate: CurveSurrogate,
    *,
    cost: CostModel | None,
    unit: str | None,
    pool: pd.DataFrame | Sequence[dict[str, Any]] | None,
    seed: int,
) -> Subject:
    """Subject of a page; cost and candidates follow the log where they are not given.

    Raises:
        ConfigError: if the pool is empty.
    """
    price = default_cost(surrogate.log) if cost is None else as_cost(cost)
    empty = Subject(surrogate, price, unit, pd.DataFrame(), "given", seed)
    if pool is not None:
        return Subject(surrogate, price, unit, pool_table(pool), "given", seed)
    frame, gaps = default_candidates(empty.focus, seed)
    return Subject(surrogate, price, unit, frame, "never run" if gaps else "run before", seed)


def default_cost(log: RunLog) -> CostModel:
    """6·N FLOPs a token where the log has a size and counts tokens; else size × axis, or the axis itself."""
    size, axis = log.roles.params, log.roles.axis
    if size is None:
        return RateCost(1.0, unit=axis)
    if "token" in axis.lower():
        return FlopsCost(params=size)
    return RateCost(size, params=size, unit=f"{size} × {axis}")


def default_candidates(log: RunLog, seed: int) -> tuple[pd.DataFrame, bool]:
    """Combinations of a log's model shapes and other settings that were never run, else its own settings.

    A shape is what goes with the model size: columns with one value for each size, and sizes that differ.

    Returns:
        The candidates, and whether they are combinations never run.
    """
    # A planned end is kept with the settings; candidates are trained as far as the runs of the log.
    configs = cast(pd.DataFrame, canonical(log).configs.drop_duplicates().reset_index(drop=True))
    shape = _shape_columns(configs, log.roles.params)
    free = [name for name in configs if name not in shape]
    if shape and free:
        crossed = configs[shape].drop_duplicates().merge(configs[free].drop_duplicates(), how="cross")
        joined = crossed[list(configs)].merge(configs, how="left", indicator="known")
        fresh = joined[joined["known"] == "left_only"].drop(columns="known").reset_index(drop=True)
        if len(fresh) >= 3:
            return _thinned(fresh, seed), True
    return _thinned(configs, seed), False


def _shape_columns(configs: pd.DataFrame, size: str | None) -> list[str]:
    """The size with the columns that follow it; without a size the first column with several values."""
    if size is None:
        varied = [str(name) for name in configs if configs[name].nunique(dropna=False) > 1]
        return varied[:1]
    values = configs.groupby(size, dropna=False).nunique(dropna=False)
    return [str(name) for name in configs if name == size or bool((values[name] <= 1).all())]


def _thinned(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    if len(frame) <= MOST_CANDIDATES:
        return frame
    chosen = np.random.default_rng(seed).choice(len(frame), MOST_CANDIDATES, replace=False)
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)
