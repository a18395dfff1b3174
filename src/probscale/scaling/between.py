"""The pool of a frontier that is given none: configurations of the log, and sizes between theirs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from probscale.cost import CostModel
from probscale.encode.columns import numbers_repetitions
from probscale.envelope import crossings
from probscale.errors import ConfigError
from probscale.runs import Roles
from probscale.runs.order import canonical
from probscale.scaling.candidates import candidates_of, first_place
from probscale.scaling.levels import spanned_levels
from probscale.surrogate import CurveSurrogate

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

STEP = 1.3
"""Largest factor between neighbouring sizes; one of them is within a thousandth of the best of all."""

MOST_BETWEEN = 80
"""Configurations of sizes between that are added at most; steps grow beyond."""

COMPARED = 9
"""Levels of compute at which the configurations of a size are compared."""

FAR = 4.0
"""Standard deviations by which a configuration may fall behind the best before it is left out."""

MOST_ROWS = 60
"""Configurations of a log that are kept at most, those that may be the best at any level first."""


def pool_of_log(surrogate: CurveSurrogate, cost: CostModel, longest: float) -> pd.DataFrame | None:
    """Configurations of the log that may be the best at some compute, and sizes between theirs.

    The frontier of a few sizes is scalloped, and steeper or flatter than the law that all sizes follow; that
    of runs of planned lengths has a step at each.

    Args:
        surrogate: What has learnt from the log.
        cost: Cost model.
        longest: Axis value up to which runs may go.

    Returns:
        One row per configuration, labelled by its run, or by its neighbours and size. None where there is
        nothing between: no model size, or costs of the runs of the log alone.

    Cost: O(runs × levels) predictions.
    """
    log, roles = surrogate.log, surrogate.log.roles
    if roles.params is None:
        return None
    # In an order of their own, so that names and ties do not follow that of the table.
    frame = canonical(log).configs
    if roles.horizon is None:
        frame = frame.assign(**{roles.run: pd.Series(frame.index, index=frame.index, dtype=object)})
    else:
        frame = frame.drop(columns=roles.horizon).drop_duplicates()
    levels = spanned_levels(log, cost, COMPARED)
    try:
        cost(frame.drop(columns=roles.run, errors="ignore"), np.full(len(frame), longest))
        found = candidates_of(log, frame, cost, levels, longest)
    except ConfigError:
        return None
    curves = surrogate.predict(found.asked, found.places).latent()
    begun = found.at >= first_place(log) * (1 - 1e-9)
    meets = crossings(np.maximum.accumulate(found.cost, axis=1), levels)
    sign = 1.0 if roles.goal == "min" else -1.0
    mean, std = (
        meets.at(np.where(begun, part.reshape(found.at.shape), np.nan)) for part in (curves.mean, curves.std)
    )
    kept = _hopeful(sign * mean, std)
    return with_sizes_between(frame.iloc[kept], sign * mean[kept], roles)


def _hopeful(losses: Array, spread: Array) -> Positions:
    """Configurations that may be the best of all at some level: the others would only cost time."""
    low, high = losses - FAR * spread, losses + FAR * spread
    margin = np.nanmin(
        np.where(np.isnan(low), np.inf, low - np.nanmin(np.where(np.isnan(high), np.inf, high), axis=0)),
        axis=1,
    )
    kept = np.flatnonzero(margin <= 0)
    if len(kept) > MOST_ROWS:
        behind = np.where(np.isnan(losses), np.inf, (losses - np.nanmin(losses, axis=0)) / spread).min(axis=1)
        kept = np.sort(kept[np.argsort(behind[kept], kind="stable")[:MOST_ROWS]])
    return kept


def with_sizes_between(frame: pd.DataFrame, losses: Array, roles: Roles) -> pd.DataFrame:
    """Configurations, and between neighbouring sizes those that the best of both suggest.

    Between the configurations that are the best of two neighbouring sizes at some level of compute, numbers
    are interpolated, in logarithms where they are positive. What names a size or a single run is left out,
    and so are repetitions.

    Args:
        frame: Configurations, with the size among them.
        losses: What each is expected to reach at some levels of compute, small is good, (configs, levels);
            NaN where it has not begun.
        roles: Roles of the log.

    Cost: O(configs × levels).
    """
    size = str(roles.params)
    sizes, mixing = frame[size].to_numpy(dtype=np.float64), _mixing(frame, roles)
    pairs = _neighbours(mixing.groups, sizes, losses)
    ratios = [math.log(sizes[b] / sizes[a]) for a, b in pairs]
    step = max(math.log(STEP), sum(ratios) / MOST_BETWEEN)
    rows, labels = [], []
    for (first, second), ratio in zip(pairs, ratios, strict=True):
        count = math.ceil(ratio / step - 1e-9)
        for share in np.arange(1, count) / count:
            rows.append(mixing.between(first, second, float(share)))
            ends = f"between {frame.index[first]} and {frame.index[second]}"
            labels.append(f"{ends}, {size} {rows[-1][size]:.4g}")
    return frame if not rows else pd.concat([frame, pd.DataFrame(rows, index=labels)])


@dataclass(frozen=True, eq=False)
class _Mixing:
    """What becomes of the columns of two configurations between them.

    Attributes:
        labels: Columns that are taken over, by name.
        numbers: Columns that are interpolated, by name.
        groups: Which configurations agree in all labels, (configs,).
    """

    labels: dict[str, pd.Series]
    numbers: dict[str, Array]
    groups: Positions

    def between(self, first: int, second: int, share: float) -> dict[str, object]:
        """The configuration a share of the way from one to another."""
        row: dict[str, object] = {name: column.iloc[first] for name, column in self.labels.items()}
        for name, values in self.numbers.items():
            low, high = float(values[first]), float(values[second])
            mixed = low * (high / low) ** share if low > 0 and high > 0 else low + share * (high - low)
            row[name] = mixed
        return row


def _mixing(frame: pd.DataFrame, roles: Roles) -> _Mixing:
    known = [name for name in roles.described if name in frame and not numbers_repetitions(name)]
    numbers, labels = {}, {}
    of_size = frame.groupby(roles.params, dropna=False)
    for name in known:
        column = frame[name]
        if name not in roles.levels and is_numeric_dtype(column) and not is_bool_dtype(column):
            numbers[name] = column.to_numpy(dtype=np.float64)
            continue
        # A name of each size or run says nothing of those between.
        own = column.nunique() > 1 and (
            int(of_size[name].nunique(dropna=False).max()) == 1 or column.nunique() == len(column)
        )
        if name in roles.levels or not own:
            labels[name] = column
    groups = np.zeros(len(frame), dtype=np.intp)
    if labels:
        written = pd.DataFrame({name: column.map(repr) for name, column in labels.items()})
        groups = np.asarray(written.groupby(list(labels), sort=True).ngroup(), dtype=np.intp)
    return _Mixing(labels, numbers, groups)


def _neighbours(groups: Positions, sizes: Array, losses: Array) -> list[tuple[int, int]]:
    """The best configurations of neighbouring sizes at each level, as pairs, each once."""
    found: dict[tuple[int, int], None] = {}
    filled = np.where(np.isnan(losses), np.inf, losses)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        best = [_best_of_size(rows[sizes[rows] == size], filled) for size in np.unique(sizes[rows])]
        for first, second in pairwise(best):
            both = (first >= 0) & (second >= 0)
            found |= dict.fromkeys(zip(first[both].tolist(), second[both].tolist(), strict=True))
    return list(found)


def _best_of_size(rows: Positions, losses: Array) -> Positions:
    """The best of some configurations at each level, -1 where none has begun, (levels,)."""
    begun = np.isfinite(losses[rows]).any(axis=0)
    return np.where(begun, rows[losses[rows].argmin(axis=0)], -1)
