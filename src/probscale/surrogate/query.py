"""What a user asks: configurations and axis values, checked and completed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError, ShapeError, UnknownColumnWarning
from probscale.runs import RunLog

Array = NDArray[np.float64]
Configs = pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]]


def read_configs(configs: Configs, log: RunLog) -> pd.DataFrame:
    """Asked configurations as a table; rows that name a run of the log are filled in from it.

    Raises:
        ConfigError: if there are none, a level is missing, or a size is not positive.
    """
    if isinstance(configs, Mapping):
        configs = [configs]
    try:
        frame = configs if isinstance(configs, pd.DataFrame) else pd.DataFrame(list(configs))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"configs is a {type(configs).__name__}; pass a DataFrame with one row per configuration, "
            "or a list of dicts"
        ) from error
    if frame.empty and not len(frame.index):
        raise ConfigError("configs is empty; pass at least one configuration")
    roles, frame = log.roles, _completed(frame, log)
    for name in roles.levels:
        if name not in frame or bool(frame[name].isna().any()):
            raise ConfigError(
                f"level {name!r} is missing in the asked configurations; give every row a value "
                "(a new one is fine)",
                column=name,
            )
    for name in (roles.params, roles.horizon):
        if name is not None and name in frame:
            _check_positive(frame[name], name)
    known = {roles.run, roles.axis, *roles.outputs, *roles.described}
    unknown = [str(c) for c in frame.columns if c not in known]
    if unknown:
        warnings.warn(
            f"columns never seen in the fit are ignored: {', '.join(unknown[:8])}",
            UnknownColumnWarning,
            stacklevel=3,
        )
    return frame


def _completed(frame: pd.DataFrame, log: RunLog) -> pd.DataFrame:
    """Asked configurations with gaps of known runs filled in from the log."""
    run = log.roles.run
    known = frame[run].isin(log.runs).to_numpy() if run in frame else np.zeros(len(frame), dtype=bool)
    if not known.any():
        return frame
    source = log.configs.loc[frame.loc[known, run]]
    filled = {}
    for name in log.configs:
        column = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
        gaps = column.isna().to_numpy()[known]
        if gaps.any():
            values = column.to_numpy(dtype=object, copy=True)
            values[np.flatnonzero(known)[gaps]] = source[name].to_numpy(dtype=object)[gaps]
            filled[name] = pd.Series(values, index=frame.index).infer_objects()
    return frame.assign(**filled)


def _check_positive(values: pd.Series, name: str) -> None:
    numbers = pd.to_numeric(values, errors="coerce")
    bad = (numbers <= 0) | (numbers.isna() & values.notna()) | np.isinf(numbers)
    if bool(bad.any()):
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise ConfigError(
            f"{name} must be a positive number; row {row} has {values.tolist()[row]!r}", column=name, row=row
        )


def read_at(at: ArrayLike, configs: int, axis: str) -> Array:
    """Asked axis values, (configs, points).

    Raises:
        ShapeError: if the shape is neither (points,) nor (configs, points).
        ConfigError: if a value is negative or not finite.
    """
    try:
        values = np.asarray(at, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            "at is not an array of numbers; pass shape (points,) or (configs, points)"
        ) from error
    if values.ndim == 0:
        values = values[None]
    if values.ndim == 1:
        values = np.broadcast_to(values, (configs, len(values)))
    if values.ndim != 2 or values.shape[0] != configs or values.shape[1] == 0:
        raise ShapeError(
            f"at has shape {np.shape(at)}; with {configs} configurations pass (points,), shared by all, or "
            f"({configs}, points), one row each",
            shape=np.shape(at),
        )
    if not np.isfinite(values).all() or (values < 0).any():
        bad = values[~np.isfinite(values) | (values < 0)][0]
        raise ConfigError(f"{axis} values must be finite and not negative; at holds {bad}", value=float(bad))
    return np.array(values)
