"""One order of the runs of a log, whatever order they came in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.runs.checks import column_of, plain_dtype
from probscale.runs.schema import DIVERGED

if TYPE_CHECKING:
    from probscale.runs.log import RunLog

Ranks = NDArray[np.intp]


def canonical(log: RunLog) -> RunLog:
    """The log with its runs in an order that follows from what they are, not from where they stood.

    Whatever draws runs by lot, goes by first appearance or adds up in turn does so in this order: a sorted
    or shuffled table, or two logs added the other way round, are then the same data. What users see of their
    log keeps their order.

    Cost: O(runs × columns + points), and a sort.

    >>> import pandas as pd
    >>> from probscale.runs import RunLog
    >>> frame = pd.DataFrame({"id": ["b", "a"], "step": 1, "loss": [3.0, 2.5], "lr": [1e-2, 1e-3]})
    >>> log = RunLog.from_frame(frame, run="id", axis="step", output="loss")
    >>> list(log.runs), list(canonical(log).runs)
    (['b', 'a'], ['a', 'b'])
    """
    order = canonical_order(log)
    if (np.diff(order) > 0).all():
        return log
    place = np.empty(log.n_runs, dtype=np.intp)
    place[order] = np.arange(log.n_runs)
    points = log.points.iloc[np.argsort(place[log.codes], kind="stable")].reset_index(drop=True)
    return replace(log, configs=log.configs.iloc[order], points=points)


def canonical_order(log: RunLog) -> Ranks:
    """Positions of the runs of a log in the order of `canonical`, (runs,).

    By levels, model size, horizon and the other columns by name, small before large and missing values last;
    then by the last point, the first and all of them; runs that are the same in all this by identifier.
    """
    keys = [*_descriptions(log), *_ends(log)]
    keys = [*keys, _curves(log, keys), _ranks(pd.Series(log.runs))]
    return np.lexsort(keys[::-1]).astype(np.intp)


def table_order(table: pd.DataFrame, run: str, *more: NDArray[np.float64]) -> Ranks:
    """Positions of the rows of a table in an order that follows from what they hold, (rows,).

    Draws that are made in this order, and ties that are broken by it, are the same however a pool is sorted.
    By columns by name, small before large and missing values last; then by run identifier; rows that are the
    same in all this by their labels.

    Args:
        table: Configurations.
        run: Column of run identifiers, where the table has it.
        more: What else belongs to the rows, (rows, values) each, such as axis values; it counts before
            identifiers.

    Cost: O(rows × columns), and a sort.

    >>> table_order(pd.DataFrame({"lr": [1e-2, 1e-3, 1e-2], "depth": [8, 4, 6]}), "run").tolist()
    [1, 2, 0]
    """
    columns = sorted(((str(name), table[name]) for name in table if name != run), key=lambda pair: pair[0])
    keys = [_ranks(column) for _, column in columns]
    keys += [_ranks(pd.Series(column)) for values in more for column in values.T]
    keys += [_ranks(column_of(table, run))] if run in table else []
    return np.lexsort([*keys, _ranks(pd.Series(list(table.index)))][::-1]).astype(np.intp)


def _ranks(values: pd.Series) -> Ranks:
    """Place of each value among all: numbers by size, anything else as text, missing ones last."""
    values = plain_dtype(values)
    if pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.unique(numbers, return_inverse=True)[1]
    codes, known = pd.factorize(values.map(str, na_action="ignore"), sort=True)
    return np.where(codes < 0, len(known), codes)


def _descriptions(log: RunLog) -> Iterator[Ranks]:
    special = [name for name in log.roles.described if name not in log.roles.config]
    for name in (*special, *sorted(log.roles.config)):
        yield _ranks(column_of(log.configs, name))


def _ends(log: RunLog) -> Iterator[Ranks]:
    """Ranks of the last point of each run, then of the first."""
    change = np.diff(log.codes) != 0
    for where in (np.r_[change, True], np.r_[True, change]):
        ends = log.points.iloc[np.flatnonzero(where)]
        for name in (log.roles.axis, *log.roles.outputs):
            yield _ranks(column_of(ends, name))


def _curves(log: RunLog, keys: list[Ranks]) -> Ranks:
    """Ranks of whole curves among runs that are alike in all keys; zero for the others."""
    ranks = np.zeros(log.n_runs, dtype=np.intp)
    _, group, counts = np.unique(np.stack(keys), axis=1, return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[group.ravel()] > 1)
    if not len(alike):
        return ranks
    columns = [log.roles.axis, *log.roles.outputs, DIVERGED]
    table = log.points[columns].to_numpy(dtype=np.float64)
    table = np.where(np.isnan(table), np.inf, table)
    starts = np.searchsorted(log.codes, np.append(alike, alike + 1)).reshape(2, -1)
    curves = [tuple(map(tuple, table[low:high])) for low, high in starts.T]
    distinct = {curve: rank for rank, curve in enumerate(sorted(set(curves)))}
    ranks[alike] = [distinct[curve] for curve in curves]
    return ranks
