"""Which runs, and how far along the axis: the arguments of `RunLog.select` and `RunLog.truncate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from probscale.errors import RunLogError
from probscale.runs.checks import show
from probscale.spelling import close_names, did_you_mean


def chosen_runs(configs: pd.DataFrame, runs: Iterable[Any] | Callable[[pd.DataFrame], Any]) -> np.ndarray:
    """Mask over the rows of `configs` for a list of runs, a mask, or a function giving either.

    Raises:
        RunLogError: for an unknown run, a mask of the wrong length, or when nothing is selected.
    """
    wanted = runs(configs) if callable(runs) else runs
    if isinstance(wanted, str) or not isinstance(wanted, Iterable):
        wanted = [wanted]
    if isinstance(wanted, pd.Series) and pd.api.types.is_bool_dtype(wanted):
        same_runs = len(wanted) == len(configs) and wanted.index.is_unique
        if same_runs and wanted.index.isin(configs.index).all():
            wanted = wanted.reindex(configs.index)
    values = wanted if isinstance(wanted, (pd.Index, pd.Series, np.ndarray)) else list(wanted)
    keep = _mask(configs, values) if _is_mask(values) else _by_name(configs, values)
    if not keep.any():
        raise RunLogError("the selection holds no run; a log needs at least one")
    return keep


def _is_mask(values: Any) -> bool:
    dtype = getattr(values, "dtype", None)
    if dtype is not None and dtype.kind != "O":
        return pd.api.types.is_bool_dtype(dtype)
    return len(values) > 0 and all(isinstance(value, (bool, np.bool_)) for value in values)


def _mask(configs: pd.DataFrame, values: Any) -> np.ndarray:
    mask = np.asarray(values, dtype=bool)
    if mask.shape != (len(configs),):
        raise RunLogError(
            f"the mask has shape {mask.shape}, but the log has {len(configs)} runs: one value per run"
        )
    return mask


def _by_name(configs: pd.DataFrame, values: Any) -> np.ndarray:
    wanted = pd.Index(values)
    unknown = [value for value in wanted if value not in configs.index]
    if unknown:
        close = close_names(unknown[0], configs.index)
        hint = did_you_mean(close) or f"it has {len(configs)} runs"
        raise RunLogError(f"the log has no run {show(unknown[0])}; {hint}", run=unknown[0], close=close)
    return configs.index.isin(wanted)


def limits_of(
    configs: pd.DataFrame,
    last: np.ndarray,
    horizon: str | None,
    until: float | pd.Series | Mapping[Any, float] | None,
    fraction: float | None,
) -> np.ndarray:
    """Last axis value that a truncation keeps, per run.

    Raises:
        RunLogError: unless exactly one of `until` and `fraction` is given and valid.
    """
    if (until is None) == (fraction is None):
        raise RunLogError(
            "give either until= (an axis value) or fraction= (of the horizon), not both or neither"
        )
    if fraction is not None:
        if not (isinstance(fraction, Real) and 0 < fraction <= 1):
            raise RunLogError(f"fraction must lie in (0, 1], got {fraction!r}")
        ends = last if horizon is None else configs[horizon].to_numpy(dtype=float)
        return fraction * ends
    if isinstance(until, (pd.Series, Mapping)):
        limits = pd.Series(until, dtype=float).reindex(configs.index)
        if limits.isna().any():
            raise RunLogError(
                f"until has no value for run {show(limits.index[limits.isna().to_numpy()][0])}; "
                "give one for every run, float('inf') to keep a run whole"
            )
        return limits.to_numpy()
    if not isinstance(until, Real):
        raise RunLogError(f"until is {until!r}; pass an axis value, or one for each run")
    return np.full(len(configs), float(until))
