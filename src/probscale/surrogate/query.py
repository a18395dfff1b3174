"""What a user asks: configurations and axis values, checked and completed."""

from __future__ import annotations

import re
import textwrap
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from probscale.encode.columns import inner_name
from probscale.encode.fields import MISSING, label
from probscale.errors import (
    ConfigError,
    ExtrapolationWarning,
    ShapeError,
    UnknownColumnWarning,
    new_values_expected,
)
from probscale.runs import RunLog
from probscale.runs.checks import infinite_in
from probscale.runs.pools import Configs, config_table
from probscale.spelling import close_names

Array = NDArray[np.float64]

TOLERATED = 1.05
"""Factor beyond the largest of a log below which nothing is said."""


def read_configs(configs: Configs, log: RunLog) -> pd.DataFrame:
    """Asked configurations as a table; rows that name a run of the log are filled in from it.

    Raises:
        ConfigError: if there are none, a level is missing, a size is not positive, a number is a word, a
            value is nested, or the name of a run is that of none, but written like one of the log or without
            any configuration.
    """
    _refuse_text(configs, log)
    frame = config_table(configs, "configs")
    _check_names(frame, log)
    roles, frame = log.roles, completed(_finite(frame, log), log)
    for name in roles.levels:
        if name not in frame or bool(frame[name].isna().any()):
            raise ConfigError(
                f"level {name!r} is missing in the asked configurations; give every row a value "
                "(a new one is fine)",
                column=name,
            )
    _refuse_nested(frame, log)
    for name in (roles.params, roles.horizon):
        if name is not None and name in frame:
            _check_positive(frame[name], name)
    _refuse_words(frame, log)
    known = {roles.run, roles.axis, *roles.outputs, *roles.described}
    unknown = [str(c) for c in frame.columns if c not in known]
    if unknown:
        meant = _meant(unknown, frame, log)
        warnings.warn(
            f"columns never seen in the fit are ignored: {', '.join(unknown[:8])}{meant}",
            UnknownColumnWarning,
            stacklevel=3,
        )
    if not new_values_expected():
        _point_out_constants(frame, log)
    _point_out_spellings(frame, log)
    return frame


def _finite(frame: pd.DataFrame, log: RunLog) -> pd.DataFrame:
    """Configurations whose infinite numbers count as not given, as in a log."""
    columns = {name: frame[name] for name in log.roles.config if name in frame}
    infinite = {name: infinite_in(column) for name, column in columns.items()}
    finite = {name: columns[name].mask(where) for name, where in infinite.items() if where.any()}
    return frame.assign(**finite) if finite else frame


def _meant(unknown: list[str], frame: pd.DataFrame, log: RunLog) -> str:
    """Columns of the log that nothing was asked of, beside unknown ones that are named like them."""
    left = [str(name) for name in log.roles.described if name not in frame]
    found = []
    for name in unknown:
        inner = [known for known in left if inner_name(known).casefold() == inner_name(name).casefold()]
        near = inner[:1] or close_names(name, left, most=1, likeness=0.8)
        if near:
            found.append(f"{near[0]!r} for {name!r}")
    return f"; did you mean {', '.join(found[:4])}?" if found else ""


def _point_out_spellings(frame: pd.DataFrame, log: RunLog) -> None:
    """Warn of labels that no run has, where one differs from them by case or separators only."""
    for name in log.roles.described:
        if name not in frame or is_numeric_dtype(log.configs[name]) or is_numeric_dtype(frame[name]):
            continue
        known = {value: None for value in log.configs[name].unique() if isinstance(value, str)}
        new = [value for value in frame[name].unique() if isinstance(value, str) and value not in known]
        like = {_plain_name(value): value for value in known} if new else {}
        for value in new:
            if _plain_name(value) in like:
                warnings.warn(
                    f"{name} {value!r} is in no run of the log, and counts as a new value; if it is "
                    f"{like[_plain_name(value)]!r}, write it like that",
                    ExtrapolationWarning,
                    stacklevel=4,
                )


def _point_out_constants(frame: pd.DataFrame, log: RunLog) -> None:
    """Warn of values of a column that has another one in every run: nothing says what they change."""
    for name in log.roles.described:
        if name in (*log.roles.levels, log.roles.params, log.roles.horizon) or name not in frame:
            continue
        if log.configs[name].nunique(dropna=False) > 1:
            continue
        seen, values = label(log.configs[name].iloc[0]), frame[name]
        if is_numeric_dtype(log.configs[name]) and not is_bool_dtype(log.configs[name]):
            values = pd.to_numeric(values, errors="coerce")
        asked = [value for value in map(label, values.unique()) if value not in (seen, MISSING)]
        if asked:
            told = [textwrap.shorten(value, 40, placeholder="...") for value in (seen, *asked[:3])]
            warnings.warn(
                f"{name} is {told[0]} in every run of the log; what {', '.join(told[1:])} would change is "
                f"not known, and forecasts are those of {told[0]}; add runs that differ in it",
                ExtrapolationWarning,
                stacklevel=4,
            )


def beyond_log(frame: pd.DataFrame, at: Array, log: RunLog) -> dict[str, float]:
    """By which factor asked sizes, ends and axis values exceed the largest of a log; without those within.

    Args:
        frame: Asked configurations.
        at: Asked axis values, (configs, points).
        log: The runs.
    """
    known, axis = log.configs, log.roles.axis
    columns = [name for name in (log.roles.params, log.roles.horizon) if name is not None and name in frame]
    asked = {name: float(pd.to_numeric(frame[name]).max()) for name in columns} | {axis: float(at.max())}
    largest = {name: float(known[name].max()) for name in columns} | {axis: float(log.points[axis].max())}
    return {name: asked[name] / most for name, most in largest.items() if asked[name] > TOLERATED * most}


def _refuse_text(configs: Any, log: RunLog) -> None:
    """Refuse a text where a row belongs, often the name of a run."""
    rows = [configs] if isinstance(configs, str) else configs if isinstance(configs, (list, tuple)) else []
    name = next((row for row in rows if isinstance(row, str)), None)
    if name is None:
        return
    raise ConfigError(
        f"configs holds the text {name!r}; a configuration is a dict, [{{{log.roles.run!r}: {name!r}}}] to "
        "continue that run"
    )


def _check_names(frame: pd.DataFrame, log: RunLog) -> None:
    """Refuse names of runs that look like slips: a new run needs a name of its own, or none."""
    run = log.roles.run
    if run not in frame:
        return
    strange = (~frame[run].isin(log.runs) & frame[run].notna()).to_numpy()
    if not strange.any():
        return
    like = {_plain_name(name): name for name in log.runs}
    described = [name for name in log.roles.described if name in frame]
    # Where a log describes nothing, a name is all that a new run can have.
    bare = ~frame[described].notna().any(axis=1).to_numpy() & bool(log.roles.described)
    for row in np.flatnonzero(strange):
        name = frame[run].tolist()[row]
        meant = like.get(_plain_name(name))
        if meant is not None:
            raise ConfigError(
                f"{run} {name!r} (row {row}) is not in the log, but {meant!r} is; write it like that to "
                f"continue that run, or leave {run!r} out to ask for a new one",
                run=name,
                row=int(row),
            )
        if bare[row]:
            raise ConfigError(
                f"{run} {name!r} (row {row}) is not in the log, which holds {_nearest(name, log)}, and the "
                "row has no configuration; name a run of the log to continue it, or describe a new one",
                run=name,
                row=int(row),
            )


def _plain_name(name: Any) -> str:
    """A name without case, kinds of separators and leading zeros; 17, 17.0 and "017" are the same."""
    text = str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)
    parts = re.split(r"[\s_:/-]+", text.strip().casefold())
    return "-".join(part.lstrip("0") or "0" if part.isdigit() else part for part in parts)


def _nearest(name: Any, log: RunLog) -> str:
    names = [str(known) for known in log.runs]
    close = close_names(name, names) or names[:3]
    return ", ".join(map(repr, close)) + (" and others" if len(names) > len(close) else "")


def completed(frame: pd.DataFrame, log: RunLog) -> pd.DataFrame:
    """Configurations with the gaps of rows that name a run of the log filled in from it."""
    run = log.roles.run
    known = frame[run].isin(log.runs).to_numpy() if run in frame else np.zeros(len(frame), dtype=bool)
    if not known.any():
        return frame
    absent = [name for name in log.configs if name not in frame or bool(frame[name].isna().any())]
    if not absent:
        return frame
    source = log.configs.loc[frame.loc[known, run], absent]
    filled = {}
    for name in absent:
        column = frame[name] if name in frame else pd.Series(np.nan, index=frame.index)
        gaps = column.isna().to_numpy()[known]
        if gaps.any():
            values = column.to_numpy(dtype=object, copy=True)
            values[np.flatnonzero(known)[gaps]] = source[name].to_numpy(dtype=object)[gaps]
            filled[name] = pd.Series(values, index=frame.index).infer_objects()
    return frame.assign(**filled)


def _refuse_nested(frame: pd.DataFrame, log: RunLog) -> None:
    """Refuse a dict or a list where a log has single values."""
    for name in log.roles.described:
        if name in frame and frame[name].dtype == object:
            nested = frame[name].map(lambda value: isinstance(value, dict | list | tuple | set | np.ndarray))
            what = f"{name} is a single value in every run of the log"
            _refuse_rows(nested, frame[name], what, ". Give one row, with one value, per configuration")


def _refuse_words(frame: pd.DataFrame, log: RunLog) -> None:
    """A word where every run of the log has a number is a slip, not a new value."""
    for name in log.roles.described:
        seen = log.configs[name]
        if name in log.roles.levels or name not in frame or is_bool_dtype(seen) or not is_numeric_dtype(seen):
            continue
        asked = frame[name]
        if is_numeric_dtype(asked):
            continue
        words = pd.to_numeric(asked, errors="coerce").isna() & asked.notna()
        remedy = ". Give a number, or leave it out where it is not known"
        _refuse_rows(words, asked, f"{name} is a number in every run of the log", remedy)


def _check_positive(values: pd.Series, name: str) -> None:
    numbers = pd.to_numeric(values, errors="coerce")
    bad = (numbers <= 0) | (numbers.isna() & values.notna()) | np.isinf(numbers)
    _refuse_rows(bad, values, f"{name} must be a positive number")


def _refuse_rows(bad: pd.Series, values: pd.Series, what: str, remedy: str = "") -> None:
    if bool(bad.any()):
        row = int(np.flatnonzero(bad.to_numpy())[0])
        raise ConfigError(
            f"{what}; row {row} has {values.tolist()[row]!r}{remedy}", column=values.name, row=row
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
