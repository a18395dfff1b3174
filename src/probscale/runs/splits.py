"""Training and test parts of a log: by run, by scale, by prefix, by level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from probscale.errors import RunLogError
from probscale.randomness import generator_of
from probscale.runs.checks import column_of, show
from probscale.runs.log import RunLog
from probscale.runs.order import canonical_order
from probscale.runs.schema import listed, require_columns


@dataclass(frozen=True, eq=False)
class Split:
    """Two parts of a log; `train, test = split` unpacks it.

    Attributes:
        train: What a fit may see.
        test: What it must predict.
    """

    train: RunLog
    test: RunLog

    def __iter__(self) -> Iterator[RunLog]:
        return iter((self.train, self.test))


def split_by_run(log: RunLog, fraction: float = 0.2, *, seed: int) -> Split:
    """Hold out whole runs at random.

    Args:
        log: The log to split.
        fraction: Share of runs in the test part, in (0, 1); rounded up, with at least one run on each side.
        seed: Seed of the choice; the order of the runs has no part in it.

    Raises:
        RunLogError: for a fraction outside (0, 1) or a log with a single run.
    """
    _check_fraction(fraction)
    if log.n_runs < 2:
        raise RunLogError("a log with a single run cannot be split by run; split_by_prefix can split it")
    held = min(math.ceil(fraction * log.n_runs), log.n_runs - 1)
    test = np.zeros(log.n_runs, dtype=bool)
    test[generator_of(seed).permutation(canonical_order(log))[:held]] = True
    return Split(log.select(~test), log.select(test))


def split_by_scale(
    log: RunLog, column: str | None = None, *, hold_out: int | None = None, threshold: float | None = None
) -> Split:
    """Hold out the largest scales, the test that matters for extrapolation.

    Args:
        log: The log to split.
        column: Numeric column of the configurations; by default the params role.
        hold_out: How many of the largest distinct values to hold out; 1 unless `threshold` is given.
        threshold: Instead, hold out all runs at or above this value.

    Raises:
        RunLogError: without a numeric column, with both arguments, or when a part would be empty.
    """
    name = column if column is not None else log.roles.params
    if name is None:
        raise RunLogError(
            "this log has no params role; name the column of the scale: split_by_scale(log, 'width')"
        )
    if hold_out is not None and threshold is not None:
        raise RunLogError("give either hold_out= (a number of scales) or threshold= (a value), not both")
    require_columns(log.configs, {name: "column"})
    values = column_of(log.configs, name)
    if not pd.api.types.is_numeric_dtype(values):
        raise RunLogError(
            f"column {name!r} holds {values.dtype}, not numbers; a scale must be a number", column=name
        )
    scale = values.to_numpy(dtype=float, na_value=np.nan)
    if np.isnan(scale).any():
        raise RunLogError(f"run {show(log.runs[np.isnan(scale)][0])} has no value in {name!r}", column=name)
    if threshold is None:
        distinct = np.unique(scale)
        count = 1 if hold_out is None else hold_out
        if not (isinstance(count, Integral) and 0 < count < len(distinct)):
            raise RunLogError(
                f"hold_out={count!r} of {len(distinct)} distinct values of {name!r}; it must leave at "
                "least one value on each side"
            )
        threshold = float(distinct[-int(count)])
    if not isinstance(threshold, Real):
        raise RunLogError(
            f"threshold is {threshold!r}; pass a value of {name!r} from which on runs are held out"
        )
    return _parts(log, scale >= threshold, f"{name} >= {show(threshold)}")


def split_by_prefix(log: RunLog, fraction: float) -> Split:
    """Train on the beginning of each run and test on the remaining points.

    Args:
        log: The log to split.
        fraction: Share of the horizon, or without that role of the run's last point, in (0, 1) that is seen.

    Returns:
        The prefixes, and all later points. Runs without a point that early are only in the test part; runs
        that stop before it only in the training part.

    Raises:
        RunLogError: for a fraction outside (0, 1), or when a part would be empty.
    """
    _check_fraction(fraction)
    train = log.truncate(fraction=fraction)
    seen = np.bincount(train.runs.get_indexer(pd.Index(train.points[log.roles.run])), minlength=train.n_runs)
    counts = pd.Series(seen, index=train.runs).reindex(log.runs, fill_value=0).to_numpy()
    starts = np.searchsorted(log.codes, np.arange(log.n_runs))
    later = np.arange(log.n_points) - starts[log.codes] >= counts[log.codes]
    if not later.any():
        raise RunLogError(f"no run has a point beyond fraction {fraction!r}; nothing is left to test on")
    keep = np.bincount(log.codes[later], minlength=log.n_runs) > 0
    rest = log.points.iloc[np.flatnonzero(later)].reset_index(drop=True)
    return Split(train, replace(log, configs=log.configs[keep], points=rest))


def split_by_level(
    log: RunLog,
    level: str,
    values: Any | Iterable[Any] | None = None,
    *,
    n: int | None = None,
    seed: int | None = None,
) -> Split:
    """Hold out all runs of some values of a level: transfer to tasks never seen.

    Args:
        log: The log to split.
        level: A level, or any other column of the configurations.
        values: The value or values to hold out.
        n: Instead, how many values to hold out at random.
        seed: Seed of that choice; required with `n`.

    Raises:
        RunLogError: for an unknown level or value, or when a part would be empty.
    """
    require_columns(log.configs, {level: "level"})
    column = column_of(log.configs, level)
    present = list(column.dropna().unique())
    if (values is None) == (n is None):
        raise RunLogError("give either values= to hold out, or n= of them with a seed=")
    if n is not None:
        if seed is None:
            raise RunLogError("n= chooses values at random and needs a seed=, for example seed=0")
        if not 0 < n < len(present):
            raise RunLogError(
                f"n={n!r} of {len(present)} values of {level!r}; it must leave one on each side"
            )
        ordered = sorted(present)
        held = [ordered[i] for i in generator_of(seed).permutation(len(present))[:n]]
    else:
        held = [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)
        unknown = [value for value in held if value not in present]
        if unknown:
            raise RunLogError(f"{level} has no value {show(unknown[0])}; its values are {listed(present)}")
    return _parts(log, column.isin(held).to_numpy(), f"{level} in {listed(held)}")


def _parts(log: RunLog, test: np.ndarray, rule: str) -> Split:
    if test.all() or not test.any():
        raise RunLogError(f"holding out {rule} leaves {'no' if test.all() else 'all'} runs for training")
    return Split(log.select(~test), log.select(test))


def _check_fraction(fraction: float) -> None:
    if not (isinstance(fraction, Real) and 0 < fraction < 1):
        raise RunLogError(f"fraction must lie strictly between 0 and 1, got {fraction!r}")
