"""Plain numeric features and target transform shared by the peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tasks import Task

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Features:
    """Standardised design matrices; `groups` gives columns of one categorical the same number."""

    train: Array
    test: Array
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """Training outputs on the scale that is modelled, and the way back."""

    values: Array
    inverse: Callable[[Array], Array]


def target_of(task: Task) -> Target:
    """Log of a positive output, else the output itself."""
    y = task.train[task.output].to_numpy(float)
    logged = task.roles["goal"] == "min" and (y > 0).all()
    return Target(np.log(y), np.exp) if logged else Target(y, lambda v: v)


def numeric_columns(task: Task) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Train over test, logged where positive; the progress fraction is added where a horizon is known."""
    both = pd.concat([task.train, task.test], ignore_index=True)[task.features].copy()
    axis, horizon = task.roles["axis"], task.roles["horizon"]
    if horizon in both:
        both["progress"] = both[axis] / both[horizon]
    numeric = [c for c in both if pd.api.types.is_numeric_dtype(both[c]) and both[c].dtype != bool]
    for column in numeric:
        values = both[column].to_numpy(float)
        known = values[np.isfinite(values)]
        both[column] = np.log(values) if len(known) and (known > 0).all() else values
    numeric = [c for c in numeric if both[c].std() > 1e-6]
    numeric = [c for i, c in enumerate(numeric) if not _repeats(both, c, numeric[:i])]
    return both, numeric, [c for c in both if c not in both.select_dtypes("number")]


def _repeats(frame: pd.DataFrame, column: str, earlier: list[str]) -> bool:
    """Whether a column is an earlier one up to scale and rounding (tokens and planned tokens)."""
    values = frame[column] - frame[column].mean()
    for other in earlier:
        if frame[other].isna().equals(frame[column].isna()):
            gap = values - (frame[other] - frame[other].mean())
            if gap.abs().max() < 1e-3:
                return True
    return False


def features_of(task: Task, *, fill: bool = True) -> Features:
    """Standardised numeric columns (missing ones become 0 plus an indicator) and one-hot categoricals."""
    both, numeric, categorical = numeric_columns(task)
    n = len(task.train)
    columns: list[Array] = []
    groups: list[int] = []

    def add(values: Array, group: int) -> None:
        columns.append(values)
        groups.append(group)

    for column in numeric:
        values = both[column].to_numpy(float)
        center, scale = np.nanmean(values[:n]), np.nanstd(values[:n])
        z = (values - center) / (scale if scale > 1e-9 else max(np.nanstd(values), 1e-9))
        missing = np.isnan(z)
        add(np.where(missing, 0.0, z) if fill else z, len(set(groups)))
        if fill and missing.any():
            add(missing.astype(float), len(set(groups)))
    for column in categorical:
        labels = both[column].astype(str)
        group = len(set(groups))
        for value in sorted(labels[:n].unique()):
            add((labels == value).to_numpy(float), group)
    matrix = np.column_stack(columns) if columns else np.zeros((len(both), 1))
    return Features(matrix[:n], matrix[n:], np.array(groups or [0]))
