"""Tables of logged runs: pandas, polars, pyarrow and files, with the roles inferred where not given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import pandas as pd

from probscale.errors import RunLogError
from probscale.integrations.flatten import flatten
from probscale.integrations.hints import is_measured, pick
from probscale.integrations.logged import Choice, LoggedRun, assemble, rows_of_frame
from probscale.integrations.settings import AXIS_NAMES
from probscale.runs import RunLog, read_frame
from probscale.runs.schema import listed, names_of

RUN_NAMES = ("run_id", "run", "run_name", "trial_id", "trial", "experiment_id", "name", "id")


def from_table(table: Any, *, run: str | None = None, **choice: Unpack[Choice]) -> RunLog:
    """A long-format table, one row per logged point, as a run log; roles left out are inferred by name.

    `RunLog.from_frame` and `read_runs` do the same with every role spelt out, and without inference.

    Args:
        table: A pandas or polars frame, a pyarrow table, or files as for `read_runs`.
        run: Column that identifies the run. Default: by name, such as `run_id`.
        **choice: Metric, axis and roles; see `Choice`.

    Raises:
        RunLogError: if the table is none of these or no column identifies the run.
    """
    runs = read_table(table, run, *asked(choice))
    metrics = {name for one in runs for row in one.rows for name in row if name != choice.get("axis")}
    metrics = {name for name in metrics if pick([name], AXIS_NAMES) is None}
    if len(metrics) == 1:
        # With several, a row without one of them is the rule.
        runs = [replace(one, warning=_gaps(one, *metrics)) for one in runs]
    return assemble(runs, source="a table", **choice)[0]


def _gaps(run: LoggedRun, metric: str) -> str | None:
    missing = any(metric not in row for row in run.rows)
    return f"rows without {metric} count as not logged; where a run diverged, write inf" if missing else None


def asked(choice: Choice) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Columns that the options say are measured, and those that they say are settings."""
    measured = (*names_of(choice.get("output")), *names_of(choice.get("axis")))
    named = (choice.get("levels"), choice.get("params"), choice.get("horizon"), choice.get("config"))
    return measured, tuple(name for option in named for name in names_of(option))


def read_table(
    table: Any, run: str | None = None, measured: tuple[str, ...] = (), settings: tuple[str, ...] = ()
) -> list[LoggedRun]:
    """The runs of a long-format table; columns constant within runs are settings, unless `measured`.

    Where each run has one row, names tell measurements from settings.
    """
    frame = to_pandas(table)
    name = run_column(frame, run)
    missing = frame[name].isna().to_numpy()
    if missing.any():
        raise RunLogError(
            f"{missing.sum()} rows have no run identifier in {name!r}; fill or drop them", column=name
        )
    frame = spread(frame)
    groups = frame.groupby(name, sort=False)
    if len(frame) > len(groups):
        constant = (groups.nunique(dropna=False) <= 1).all()
        constant[[column for column in measured if column in constant.index]] = False
    else:
        columns = [column for column in frame if column != name]
        final = {c for c in columns if is_measured(str(c)) and pd.api.types.is_numeric_dtype(frame[c])}
        constant = pd.Series({c: c not in (final - {*settings}) | {*measured} for c in columns}, dtype=bool)
    return [_run(str(key), part.drop(columns=name), constant) for key, part in groups]


def run_column(frame: pd.DataFrame, run: str | None = None) -> str:
    """Column that identifies the run: the one given, or by name.

    Raises:
        RunLogError: if there is none.
    """
    name = run if run is not None else pick([str(c) for c in frame.columns], RUN_NAMES)
    if name is None or name not in frame.columns:
        said = f"no column {run!r}" if run is not None else "no column is clearly the run identifier"
        raise RunLogError(
            f"{said}; columns are: {listed(list(frame.columns))}; name it with run=", column=run
        )
    return name


def axis_column(frame: pd.DataFrame, log: RunLog) -> str | None:
    """Column of a table that the axis of its import was read from; None where the axis was worked out."""
    columns = [name for name in frame.columns if pick([str(name)], AXIS_NAMES) is not None]
    measured = log.points[log.roles.axis].to_numpy()
    names = [name for name in (log.roles.axis, *columns) if name in frame]
    return next((name for name in names if _holds(frame[name], measured)), None)


def _holds(column: pd.Series, values: np.ndarray) -> bool:
    return pd.api.types.is_numeric_dtype(column) and bool(np.isin(values, column.to_numpy(float)).all())


def _run(name: str, part: pd.DataFrame, constant: pd.Series) -> LoggedRun:
    described = [str(c) for c, same in constant.items() if same]
    config: dict[str, Any] = {str(c): v for c, v in part[described].iloc[0].items() if not _missing(v)}
    return LoggedRun(name, config, rows_of_frame(part.drop(columns=described)))


def spread(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose dicts and lists are columns of their own, as in a nested configuration."""
    loose = [name for name in frame.columns if frame[name].dtype == object]
    nested = [name for name in loose if frame[name].map(_is_nested).any()]
    if not nested:
        return frame
    cells = (dict(zip(nested, row, strict=True)) for row in frame[nested].itertuples(index=False))
    return with_settings(frame.drop(columns=nested), cells)


def with_settings(frame: pd.DataFrame, configs: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A table with the nested configuration of each row as columns; columns that it has stay as they are."""
    flat = pd.DataFrame([flatten(config) for config in configs], index=frame.index)
    return pd.concat([frame, flat.drop(columns=frame.columns, errors="ignore")], axis=1)


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple, Mapping, np.ndarray))


def _missing(value: Any) -> bool:
    return not _is_nested(value) and bool(pd.isna(value))


def to_pandas(table: Any) -> pd.DataFrame:
    """A pandas frame of any supported table.

    Raises:
        RunLogError: for anything else.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if hasattr(table, "collect") and type(table).__module__.split(".")[0] == "polars":
        table = table.collect()
    if type(table).__module__.split(".")[0] == "polars":
        return pd.DataFrame({name: table[name].to_list() for name in table.columns})
    if hasattr(table, "to_pandas"):
        return table.to_pandas()
    try:
        return read_frame(table)
    except TypeError as error:
        raise RunLogError(
            f"cannot read a {type(table).__name__}; accepted are pandas, polars, pyarrow tables and files"
        ) from error
