"""Validation of a long-format table of runs: each failure names the run, the row and the remedy."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from probscale.errors import RunLogError

_NUMBERS = {"integer", "floating", "decimal", "mixed-integer-float"}
_TEXT = {"string"}
_PLAIN = {*_NUMBERS, *_TEXT, "boolean", "empty", "categorical"}


def show(value: Any) -> str:
    """A value for a message: text quoted, numbers short but exact, 3000000000 as 3e9."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        return repr(value.item() if isinstance(value, np.generic) else value)
    number = float(value)
    brief = f"{number:g}"
    if float(brief) != number and np.isfinite(number):
        return f"{number:.17g}" if number.is_integer() else repr(number)
    return brief.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")


@dataclass(frozen=True)
class Rows:
    """Which run each row of the user's frame belongs to.

    Attributes:
        runs: Run identifiers in order of first appearance.
        codes: Per row, position of its run in `runs`.
        first: Per run, position of its first row.
        order: Row positions grouped by run, order within a run kept.
    """

    runs: pd.Index
    codes: np.ndarray
    first: np.ndarray
    order: np.ndarray

    def where(self, row: int) -> str:
        """The run of a row, for a message."""
        return f"run {show(self.runs[self.codes[row]])}"

    def context(self, row: int) -> dict[str, Any]:
        """Attributes of an error about a row."""
        return {"run": self.runs[self.codes[row]], "row": int(row)}


def rows_of(frame: pd.DataFrame, run: str) -> Rows:
    """Group the rows of a frame by run.

    Raises:
        RunLogError: if the frame is empty or a row has no usable run identifier.
    """
    if len(frame) == 0:
        raise RunLogError("the run log is empty: it has no rows; check the filter or file it was read from")
    column = plain_dtype(column_of(frame, run))
    missing = np.flatnonzero(column.isna().to_numpy())
    if missing.size:
        raise RunLogError(
            f"row {missing[0]} has no run identifier in {run!r} ({missing.size} such rows); "
            "fill or drop them",
            row=int(missing[0]),
        )
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind not in _PLAIN and not pd.api.types.is_datetime64_any_dtype(column):
        raise RunLogError(f"run identifiers in {run!r} must all be text or all be numbers; use astype(str)")
    codes, runs = pd.factorize(column)
    order = np.argsort(codes, kind="stable")
    first = order[np.r_[0, np.flatnonzero(np.diff(codes[order])) + 1]]
    return Rows(pd.Index(runs, name=run), codes, first, order)


def column_of(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column known to be unique, hence a series."""
    return cast(pd.Series, frame[name])


def plain_dtype(column: pd.Series) -> pd.Series:
    """A categorical or object column with the dtype of its values."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    return column.infer_objects() if column.dtype == object else column


def numbers(frame: pd.DataFrame, column: str, rows: Rows) -> np.ndarray:
    """A numeric column as float64; missing values are NaN.

    Raises:
        RunLogError: if a value is not a number.
    """
    values = plain_dtype(column_of(frame, column))
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    given = np.flatnonzero(values.notna().to_numpy()).tolist()
    items = values.tolist()
    odd = {row: items[row] for row in given if not _is_number(items[row])}
    if odd:
        row, remedy = _oddest(odd)
        raise RunLogError(
            f"{column} must be numbers; {rows.where(row)} has {odd[row]!r}, which is "
            f"{type(odd[row]).__name__} (row {row}); {remedy}",
            column=column,
            value=odd[row],
            **rows.context(row),
        )
    result = np.full(len(values), np.nan)
    result[given] = [float(items[row]) for row in given]
    return result


def _oddest(odd: dict[int, Any]) -> tuple[int, str]:
    """The row whose value is at fault among those that hold no number, and what to do about it.

    One word in a file makes text of all numbers of its column: the word is at fault, not the first number.
    """
    first = next(iter(odd))
    words = (row for row, value in odd.items() if not isinstance(value, str) or not _reads(value))
    row = next(words, first)
    if isinstance(odd[row], (datetime.date, datetime.timedelta)):
        return row, "give the time since the start of the run as a number, for example in seconds"
    text = odd[row].strip() if isinstance(odd[row], str) else ""
    if not text or _reads(text):
        return row, "convert the column, for example with pd.to_numeric"
    if _THOUSANDS.fullmatch(text):
        return row, "write it without separators, or read the file with pandas.read_csv(..., thousands=',')"
    if _DECIMAL_COMMA.fullmatch(text):
        return row, "write it with a decimal point, or read the file with pandas.read_csv(..., decimal=',')"
    if (counted := _COUNTED.fullmatch(text)) is not None:
        plain = float(counted[1]) * _UNITS[counted[2].lower()]
        return row, f"write numbers out, such as {plain:.15g} in its place"
    return row, "correct it, or leave the cell empty where nothing was measured"


def _reads(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_COUNTED = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)) ?([kKMBGT])")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, bytes, complex))


def check_axis(axis: np.ndarray, name: str, rows: Rows) -> None:
    """Check that the axis is finite, not negative and strictly increasing within each run.

    Raises:
        RunLogError: naming the first offending row.
    """
    for bad, must in ((~np.isfinite(axis), "be finite"), (axis < 0, "not be negative")):
        hits = np.flatnonzero(bad)
        if hits.size:
            row = int(hits[0])
            value = "no value" if np.isnan(axis[row]) else show(axis[row])
            raise RunLogError(
                f"{name} must {must}; {rows.where(row)} has {value} (row {row}, {hits.size} such rows); "
                "correct or drop these rows",
                column=name,
                value=float(axis[row]),
                **rows.context(row),
            )
    grouped = axis[rows.order]
    same_run = np.diff(rows.codes[rows.order]) == 0
    steps = np.flatnonzero(same_run & (np.diff(grouped) <= 0))
    if steps.size:
        step = steps[np.argmin(rows.order[steps + 1])]
        _raise_order(axis, name, rows, int(rows.order[step]), int(rows.order[step + 1]))


def _raise_order(axis: np.ndarray, name: str, rows: Rows, before: int, row: int) -> None:
    if axis[before] == axis[row]:
        message = (
            f"{name} must rise within a run; {rows.where(row)} has two points at {show(axis[row])} "
            f"(rows {before} and {row}); drop one, average them, or give repeated runs their own identifier"
        )
    else:
        message = (
            f"{name} must rise within a run; {rows.where(row)} has {show(axis[row])} after "
            f"{show(axis[before])} (row {row}); "
            f"sort with frame.sort_values([{rows.runs.name!r}, {name!r}]), or give a restarted run "
            "its own identifier"
        )
    raise RunLogError(message, column=name, value=float(axis[row]), **rows.context(row))


def check_positive(values: np.ndarray, name: str, role: str, rows: Rows) -> None:
    """Check that a column with the role params or horizon is present, finite and positive.

    Raises:
        RunLogError: naming the first offending row.
    """
    hits = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if hits.size:
        row = int(hits[0])
        value = "no value" if np.isnan(values[row]) else show(values[row])
        raise RunLogError(
            f"{role} must be a positive number for every run; {rows.where(row)} has {value} in {name!r} "
            f"(row {row}); fill it in, drop the run, or leave out {role}=",
            column=name,
            **rows.context(row),
        )


def check_present(column: pd.Series, rows: Rows) -> None:
    """Check that no row misses its level, or has an infinite one.

    Raises:
        RunLogError: naming the first row without one.
    """
    infinite = infinite_in(column)
    hits = np.flatnonzero(column.isna().to_numpy() | infinite)
    if hits.size:
        row = int(hits[0])
        raise RunLogError(
            f"every run needs a value of the level {column.name!r}; {rows.where(row)} has "
            f"{show(column.iloc[row]) if infinite[row] else 'none'} (row {row}); "
            "fill it, for example with 'unknown', or drop the run",
            column=column.name,
            **rows.context(row),
        )


def infinite_in(column: pd.Series) -> np.ndarray:
    """Which rows of a column hold an infinite number, (rows,); none of a column of text."""
    values = plain_dtype(column)
    if not pd.api.types.is_float_dtype(values.dtype):
        return np.zeros(len(values), dtype=bool)
    return np.isinf(values.to_numpy(dtype=np.float64, na_value=np.nan))


def objection(column: pd.Series) -> str | None:
    """Why a column cannot describe a configuration whatever its rows say, or None if it can."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.dtype.categories.dtype)
    if pd.api.types.is_float_dtype(column.dtype):
        given = column.dropna()
        return "holds infinite values alone" if len(given) and infinite_in(given).all() else None
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if kind in _PLAIN:
        return None
    if kind.startswith(("datetime", "date", "timedelta", "time", "period")):
        return "holds times"
    return _objection_to_objects(column) if column.dtype.kind == "O" else f"holds {kind} values"


def _objection_to_objects(column: pd.Series) -> str:
    scalars = (str, bool, int, float, np.generic)
    odd = [value for value in column.dropna().to_list() if not isinstance(value, scalars)]
    return f"holds nested values ({type(odd[0]).__name__})" if odd else "mixes types"


def check_types(column: pd.Series, rows: Rows) -> None:
    """Check that a column does not mix numbers, text and truth values.

    Raises:
        RunLogError: naming one row of each kind.
    """
    kinds = column.map(_kind, na_action="ignore")
    first = kinds.dropna().drop_duplicates()
    positions = [int(np.flatnonzero((kinds == kind).to_numpy())[0]) for kind in first.to_list()[:2]]
    if len(positions) < 2:
        return
    parts = [f"{show(column.iloc[row])} ({rows.where(row)}, row {row})" for row in positions]
    raise RunLogError(
        f"column {column.name!r} mixes {first.iloc[0]} and {first.iloc[1]}: {parts[0]} and {parts[1]}; "
        "make it one type, for example with astype(str) or pd.to_numeric",
        column=column.name,
        **rows.context(positions[1]),
    )


def _kind(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "truth values"
    if isinstance(value, (int, float, np.integer, np.floating)):
        return "numbers"
    return "text" if isinstance(value, str) else type(value).__name__


def changed_row(column: pd.Series, rows: Rows) -> int | None:
    """First row whose value differs from the first row of its run; missing equals missing."""
    codes, _ = pd.factorize(column)
    hits = np.flatnonzero(codes != codes[rows.first][rows.codes])
    return int(hits[0]) if hits.size else None


def raise_changed(column: pd.Series, row: int, rows: Rows) -> None:
    """Report a configuration value that changes within a run.

    Raises:
        RunLogError: always, naming both values.
    """
    start = int(rows.first[rows.codes[row]])
    old, new = show(column.iloc[start]), show(column.iloc[row])
    raise RunLogError(
        f"{column.name} must be constant within a run; {rows.where(row)} has {old} (row {start}) and {new} "
        f"(row {row}); correct it, split the run in two, or leave {column.name!r} out of the configuration",
        column=column.name,
        **rows.context(row),
    )
