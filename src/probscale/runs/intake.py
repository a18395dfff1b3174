"""From the user's long-format table to validated configurations, points and notes."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import get_args

import numpy as np
import pandas as pd

from probscale.errors import GoalWarning, RunLogError
from probscale.runs import checks
from probscale.runs.checks import Rows
from probscale.runs.divergence import diverged_points, risen_points
from probscale.runs.schema import DIVERGED, Nonfinite, Roles, listed

_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)? ?[kKMBGT]?")
"""Numbers without leading zeros, which mark a name; with a unit of thousands, as in 1.2M."""

ENDED = (0.25, 3)
"""Share of runs, and runs, that end at the value of a column which may then be their planned end."""


def read_table(
    frame: pd.DataFrame, roles: Roles, *, explicit: bool, nonfinite: Nonfinite
) -> tuple[pd.DataFrame, pd.DataFrame, Roles, tuple[str, ...]]:
    """Validate a table and split it into configurations (one row a run) and points.

    Args:
        frame: The user's table.
        roles: Meaning of its columns; `config` holds candidates unless `explicit`.
        explicit: Whether the user named the configuration columns.
        nonfinite: What happens to points without a finite output.

    Returns:
        Configurations, points, the roles with the configuration columns that were kept, and notes.

    Raises:
        RunLogError: naming the run, the row and the remedy.

    Cost: O(rows × columns), vectorised.
    """
    rows = checks.rows_of(frame, roles.run)
    axis = checks.numbers(frame, roles.axis, rows)
    checks.check_axis(axis, roles.axis, rows)
    _check_special(frame, roles, rows)
    roles, notes = _choose_config(frame, roles, rows, explicit)
    outputs, marks, keep, more = _outputs(frame, roles, rows, nonfinite)
    place = {roles.run: rows.runs.take(rows.codes), roles.axis: _axis_dtype(frame, roles.axis, axis)}
    points = pd.DataFrame({**place, **outputs, DIVERGED: marks})
    points = points.iloc[rows.order[keep[rows.order]]].reset_index(drop=True)
    if points.empty:
        raise RunLogError(f"no point of the log has a finite {roles.outputs[0]}; nothing is left to model")
    configs = frame[list(roles.described)].iloc[rows.first].set_axis(rows.runs, axis=0).apply(_tidy_dtype)
    configs = configs.loc[pd.Index(points[roles.run].unique())].rename_axis(roles.run)
    configs, infinite = _finite_configs(configs, roles)
    points, even_more = _mark(points, roles, given=DIVERGED in frame.columns)
    notes = (*notes, *infinite, *more, *even_more, *_plausibility(points, configs, roles, explicit))
    return configs, points, roles, notes


def _finite_configs(configs: pd.DataFrame, roles: Roles) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Configurations in which an infinite number, such as no limit on gradients, counts as not given."""
    notes = []
    for name in roles.config:
        column = checks.column_of(configs, name)
        infinite = checks.infinite_in(column)
        if infinite.any():
            configs = configs.assign(**{name: column.mask(infinite)})
            runs = configs.index[infinite]
            notes.append(
                f"{name} is infinite in {len(runs)} run{'s' * (len(runs) != 1)} ({listed(list(runs), 3)}), "
                "and counts there as not given"
            )
    return configs, tuple(notes)


def _tidy_dtype(column: pd.Series) -> pd.Series:
    """Numbers and text that arrived as Python objects, for example from JSON, in a dtype of their own."""
    if column.dtype.kind != "O":
        return column
    if pd.api.types.infer_dtype(column, skipna=True) in {
        "integer",
        "floating",
        "mixed-integer-float",
        "decimal",
    }:
        return column.astype(float)
    return column.infer_objects()


def _axis_dtype(frame: pd.DataFrame, name: str, axis: np.ndarray) -> np.ndarray:
    whole = pd.api.types.is_integer_dtype(checks.plain_dtype(checks.column_of(frame, name)).dtype)
    return axis.astype(np.int64) if whole and axis.max(initial=0.0) < 2**53 else axis


def _check_special(frame: pd.DataFrame, roles: Roles, rows: Rows) -> None:
    for role, name in (("params", roles.params), ("horizon", roles.horizon)):
        if name is not None:
            checks.check_positive(checks.numbers(frame, name, rows), name, role, rows)
    for name in roles.levels:
        checks.check_present(checks.column_of(frame, name), rows)
    for name in (*roles.levels, roles.params, roles.horizon):
        if name is not None:
            _require_config(checks.column_of(frame, name), rows)


def _require_config(column: pd.Series, rows: Rows) -> None:
    reason = checks.objection(column)
    if reason == "mixes types":
        checks.check_types(column, rows)
    elif reason is not None:
        raise RunLogError(
            f"column {column.name!r} {reason}, which cannot describe a run; accepted are numbers, text and "
            "truth values; convert it or leave it out of the configuration",
            column=column.name,
        )
    row = checks.changed_row(column, rows)
    if row is not None:
        checks.raise_changed(column, row, rows)


def _choose_config(
    frame: pd.DataFrame, roles: Roles, rows: Rows, explicit: bool
) -> tuple[Roles, tuple[str, ...]]:
    kept: list[str] = []
    left_out: dict[str, list[str]] = {}
    for name in roles.config:
        column = checks.column_of(frame, name)
        reason = "have no value" if column.isna().to_numpy().all() else None
        if reason is None and not explicit:
            reason = _unfit(column, rows)
        if reason is None:
            _require_config(column, rows)
            kept.append(name)
        else:
            left_out.setdefault(reason, []).append(name)
    notes = tuple(f"ignored columns that {reason}: {listed(names)}" for reason, names in left_out.items())
    return replace(roles, config=tuple(kept)), notes


def _unfit(column: pd.Series, rows: Rows) -> str | None:
    """Why a column that nobody asked for is no configuration, or None if it is."""
    reason = checks.objection(column)
    if reason not in {None, "mixes types"}:
        return reason.replace("holds", "hold") if reason else None
    return "change within a run" if checks.changed_row(column, rows) is not None else None


def _outputs(
    frame: pd.DataFrame, roles: Roles, rows: Rows, nonfinite: Nonfinite
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, tuple[str, ...]]:
    """Outputs, marks given or implied, rows to keep, notes; all in the order of the frame."""
    if nonfinite not in get_args(Nonfinite):
        raise RunLogError(f'nonfinite must be "error", "diverged" or "drop", got {nonfinite!r}')
    values = np.column_stack([checks.numbers(frame, name, rows) for name in roles.outputs])
    marks = _given_marks(frame)
    lost = np.logical_or(np.isinf(values).any(axis=1), np.isnan(values).all(axis=1))
    unmarked = lost & ~marks
    notes: tuple[str, ...] = ()
    keep: np.ndarray = np.ones(len(frame), dtype=bool)
    if nonfinite == "error" and unmarked.any():
        _raise_nonfinite(values, roles, rows, unmarked)
    values = np.where(np.isfinite(values), values, np.nan)
    if nonfinite == "drop":
        keep = np.logical_or.reduce(np.isfinite(values), axis=1)
        if not keep.all():
            gone = len(rows.runs) - len(np.unique(rows.codes[keep]))
            text = f"dropped {np.sum(~keep)} points without a finite output"
            notes = (text + (f", and with them {gone} whole runs" if gone else ""),)
    elif nonfinite == "diverged" and unmarked.any():
        notes = (f"marked {_counted(unmarked, rows.codes)} as diverged: their output is not finite",)
        marks = marks | lost
    return dict(zip(roles.outputs, values.T, strict=True)), marks, keep, notes


def _raise_nonfinite(values: np.ndarray, roles: Roles, rows: Rows, lost: np.ndarray) -> None:
    row = int(np.flatnonzero(lost)[0])
    column = int(np.flatnonzero(~np.isfinite(values[row]))[0])
    infinite = np.flatnonzero(np.isinf(values[row]))
    column = int(infinite[0]) if infinite.size else column
    value, name = values[row, column], roles.outputs[column]
    what = "has no value" if np.isnan(value) else f"has {checks.show(value)}"
    if len(roles.outputs) > 1 and np.isnan(value):
        name, what = "outputs", f"has none of {listed(roles.outputs)}"
    raise RunLogError(
        f"{name} must be finite; {rows.where(row)} {what} (row {row}, {lost.sum()} such rows); pass "
        'nonfinite="drop" to drop them, where nothing was measured there, or nonfinite="diverged" to keep '
        "them as marks of divergence",
        column=name,
        value=float(value),
        **rows.context(row),
    )


def _given_marks(frame: pd.DataFrame) -> np.ndarray:
    if DIVERGED not in frame.columns:
        return np.zeros(len(frame), dtype=bool)
    column = checks.plain_dtype(checks.column_of(frame, DIVERGED))
    numeric = pd.api.types.is_numeric_dtype(column) and column.isin([0, 1]).all()
    if not numeric or column.isna().any():
        raise RunLogError(
            f"the column {DIVERGED!r} is reserved for marks of diverged points and must be true or false in "
            "every row; rename it if it means something else",
            column=DIVERGED,
        )
    return column.to_numpy(dtype=bool)


def _mark(points: pd.DataFrame, roles: Roles, given: bool) -> tuple[pd.DataFrame, tuple[str, ...]]:
    if given:
        return points, ()
    codes = pd.factorize(points[roles.run])[0]
    output, values = roles.outputs[0], points[roles.outputs[0]].to_numpy()
    risen = risen_points(values, codes, roles.goal)
    if not risen.any():
        return points, ()
    runs, begun = len(np.unique(codes[risen])), len(np.unique(codes[points.duplicated(roles.run)]))
    if runs > 0.5 * begun and begun > 1:
        warnings.warn(
            f"{output} rises in {runs} of {begun} runs, although smaller is better; if larger is better, "
            'give goal="max"',
            GoalWarning,
            stacklevel=4,
        )
    exploded = diverged_points(values, codes, risen)
    note = f"marked {_counted(exploded, codes)} as diverged: {output} rose clearly above the start of the run"
    if (risen & ~exploded).any():
        note = (
            f"{output} rises above the start in {runs} of {begun} runs: taken for what runs of this log do, "
            f"not for divergence ({exploded.sum()} points beyond ten times the start are marked)"
        )
    return points.assign(**{DIVERGED: points[DIVERGED].to_numpy() | exploded}), (note,)


def _plausibility(
    points: pd.DataFrame, configs: pd.DataFrame, roles: Roles, explicit: bool
) -> tuple[str, ...]:
    notes = []
    if len(points) == len(configs) and not explicit and roles.config:
        notes.append(
            "every run has one point, so every other column counts as configuration "
            f"({listed(roles.config)}); name config= if some of them are measurements"
        )
    words = [name for name in roles.config if _is_number_text(configs[name])]
    if words:
        notes.append(
            f"columns that hold numbers as text are read as labels: {listed(words)}; convert them, for "
            "example with pd.to_numeric (1.2M is 1200000), where they count or measure something"
        )
    if roles.horizon is not None:
        last = points.groupby(roles.run, sort=False)[roles.axis].last()
        beyond = int((last.to_numpy() > 1.001 * configs[roles.horizon].to_numpy(dtype=float)).sum())
        if beyond:
            notes.append(
                f"{beyond} runs go on beyond their {roles.horizon}; check that both have the same unit"
            )
    elif len(points) > 2 * len(configs):
        notes += _planned_ends(points, configs, roles)
    return tuple(notes)


def _planned_ends(points: pd.DataFrame, configs: pd.DataFrame, roles: Roles) -> list[str]:
    """A note on the column at whose value many runs end and which none passes, where there is one."""
    last = points.groupby(roles.run, sort=False)[roles.axis].last().to_numpy(dtype=float)
    for name in roles.config:
        column = configs[name]
        if not pd.api.types.is_numeric_dtype(column) or column.nunique() < 2:
            continue
        share = last / column.where(column > 0).to_numpy(dtype=float, na_value=np.nan)
        at_end = int((share >= 0.98).sum())
        if (share <= 1.001).all() and at_end >= max(ENDED[0] * len(configs), ENDED[1]):
            return [
                f"no run goes beyond its {name}, and {at_end} of {len(configs)} end there; if it is the "
                f"planned end of a run, give horizon={name!r}, so that half a run is not read as a short one"
            ]
    return []


def _counted(marks: np.ndarray, codes: np.ndarray) -> str:
    points, runs = int(marks.sum()), len(np.unique(codes[marks]))
    return f"{points} point{'s' * (points != 1)} in {runs} run{'s' * (runs != 1)}"


def _is_number_text(column: pd.Series) -> bool:
    """Whether a column of text holds different numbers, as "1e-4" of a YAML file; "007" is a name."""
    if not pd.api.types.is_string_dtype(column.dropna()):
        return False
    given = column.dropna().unique()
    return len(given) > 1 and all(_NUMBER.fullmatch(str(value).strip()) for value in given)
