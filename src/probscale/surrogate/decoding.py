"""From inputs of a BoTorch model back to configurations, and the values of what cannot move."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_integer_dtype

from probscale.encode.fields import NumericField
from probscale.errors import ConfigError

Array = NDArray[np.float64]

CLOSE = 1e-6
"""Relative difference up to which coordinates count as equal."""


def choices(x: Array, numbers: dict[int, NumericField]) -> list[dict[int, float]]:
    """Distinct values of the columns that cannot move, one dict from column to value each, sorted.

    Args:
        x: Inputs of a pool, (configs, d).
        numbers: Columns that are numbers; see `PointEncoder.numbers`.
    """
    movable = _movable(x, numbers)
    found = {
        tuple((i, float(value)) for i, value in enumerate(row) if not movable[k, i])
        for k, row in enumerate(x)
    }
    return [dict(fixed) for fixed in sorted(found)]


def decode(x: Array, frame: pd.DataFrame, encoded: Array, numbers: dict[int, NumericField]) -> pd.DataFrame:
    """Configurations of inputs: rows of a pool whose numbers have moved, one row per input.

    Numbers that have not moved, labels, texts and every column that the model does not read are those of the
    nearest configuration of the pool with the same labels. Columns of integers stay so: they are rounded.

    Args:
        x: Inputs, (rows, d).
        frame: The pool.
        encoded: Its inputs, (configs, d).
        numbers: Columns that are numbers.

    Raises:
        ConfigError: if no configuration of the pool has the labels of an input.
    """
    movable = _movable(encoded, numbers)
    gap = np.abs(x[:, None, :] - encoded[None]) / np.maximum(1.0, np.abs(encoded))
    same = ((gap < CLOSE) | movable).all(axis=-1)
    lost = np.flatnonzero(~np.any(same, axis=-1))
    if lost.size:
        raise ConfigError(
            f"input {lost[0]} has labels, or another column that is no number, unlike every configuration of "
            "the pool; hold these columns at values of the pool: optimize_acqf_mixed(..., "
            "fixed_features_list=model.choices(pool))",
            row=int(lost[0]),
        )
    far = np.where(movable, gap, 0.0).sum(axis=-1)
    nearest = np.where(same, far, np.inf).argmin(axis=1)
    out = frame.iloc[nearest].reset_index(drop=True)
    for place, item in numbers.items():
        moved = (gap[np.arange(len(x)), nearest, place] > CLOSE) & movable[nearest, place]
        if item.name not in frame or not moved.any():
            continue
        values, whole = item.restore(x[:, place]), is_integer_dtype(frame[item.name])
        kept = out[item.name].to_numpy(dtype=np.float64, na_value=np.nan)
        both = np.where(moved, np.rint(values) if whole else values, kept)
        out[item.name] = both.astype(np.int64) if whole else both
    return out


def _movable(x: Array, numbers: dict[int, NumericField]) -> NDArray[np.bool_]:
    """Which coordinates of configurations are numbers that are given, (configs, d)."""
    out = np.zeros(x.shape, dtype=bool)
    for place, item in numbers.items():
        out[:, place] = x[:, place + 1] == 0.0 if item.marks_missing else True
    return out
