"""What is in a log: runs, levels, ranges, gaps."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probscale.runs.checks import column_of, show
from probscale.runs.schema import DIVERGED, Roles, listed

GAP_FACTOR = 3.0
"""An interval of the axis is a gap when it is this many times as long as both of its neighbours."""

FINISHED = 0.99
"""Share of its horizon at which a run counts as finished: steps and evaluations rarely end on it exactly."""


@dataclass(frozen=True)
class ColumnSummary:
    """One column of the configurations.

    Attributes:
        name: Column name.
        kind: "number", "text" or "truth".
        distinct: Number of distinct values.
        missing: Runs without a value.
        low: Smallest value of a number, otherwise None.
        high: Largest value of a number, otherwise None.
        common: Most frequent values and their numbers of runs, most frequent first.
    """

    name: str
    kind: str
    distinct: int
    missing: int
    low: float | None
    high: float | None
    common: tuple[tuple[Any, int], ...]

    def __str__(self) -> str:
        if self.kind == "number":
            text = f"{self.low:.4g}" if self.low == self.high else f"{self.low:.4g} to {self.high:.4g}"
            text += f", {self.distinct} value{'s' * (self.distinct > 1)}"
        else:
            text = listed([f"{value} ({count})" for value, count in self.common], 6)
            more = self.distinct - len(self.common)
            text += f", {more} more values" if more > 0 else ""
        return f"{self.name}: {text}" + (f", {self.missing} runs without" if self.missing else "")


@dataclass(frozen=True)
class Gap:
    """A stretch of the axis without points, long beside its neighbours."""

    run: Any
    start: float
    end: float


@dataclass(frozen=True)
class LogSummary:
    """What is in a log; `str` gives a readable page.

    Attributes:
        runs: Number of runs.
        points: Number of points.
        points_per_run: Smallest, median and largest number of points of a run.
        axis: Summary of the axis: name, first and last value.
        outputs: Per output: name, smallest and largest value, missing points.
        levels: Summaries of the level columns, coarse to fine.
        empty_cells: Combinations of level values without a run, and of all; (0, 0) with fewer than two
            levels.
        params: Summary of the params column, or None.
        horizon: Summary of the horizon column, or None.
        config: Summaries of the other configuration columns.
        unfinished: Runs that end before their horizon; empty without that role.
        gaps: Long stretches without points.
        diverged: Runs that end with a point marked as diverged.
        recovered: Runs with such a point that went on from it: a spike.
        notes: Notes of the log.
    """

    runs: int
    points: int
    points_per_run: tuple[int, float, int]
    axis: tuple[str, float, float]
    outputs: tuple[tuple[str, float, float, int], ...]
    levels: tuple[ColumnSummary, ...]
    empty_cells: tuple[int, int]
    params: ColumnSummary | None
    horizon: ColumnSummary | None
    config: tuple[ColumnSummary, ...]
    unfinished: tuple[Any, ...]
    gaps: tuple[Gap, ...]
    diverged: tuple[Any, ...]
    recovered: tuple[Any, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        low, middle, high = self.points_per_run
        lines = [
            f"{self.runs:,} run{'s' * (self.runs != 1)}, {self.points:,} points "
            f"({low} to {high} a run, median {middle:g})",
            f"axis {self.axis[0]}: {self.axis[1]:.4g} to {self.axis[2]:.4g}",
        ]
        for name, smallest, largest, missing in self.outputs:
            lines.append(
                f"output {name}: {smallest:.4g} to {largest:.4g}" + (f", {missing} missing" * bool(missing))
            )
        lines += [f"level {column}" for column in self.levels]
        if self.empty_cells[0]:
            lines.append(
                f"cells without a run: {self.empty_cells[0]} of {self.empty_cells[1]} level combinations"
            )
        lines += [f"params {self.params}"] * (self.params is not None)
        lines += [f"horizon {self.horizon}"] * (self.horizon is not None)
        lines += [f"config {column}" for column in self.config]
        for name, runs in (
            ("unfinished runs", self.unfinished),
            ("diverged runs", self.diverged),
            ("runs with a spike", self.recovered),
        ):
            lines += [f"{name}: {len(runs)} ({listed(runs, 5)})"] * bool(runs)
        if self.gaps:
            shown = [f"{gap.run} from {show(gap.start)} to {show(gap.end)}" for gap in self.gaps]
            lines.append(f"gaps: {len(self.gaps)} ({listed(shown, 3)})")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def summary_of(
    configs: pd.DataFrame, points: pd.DataFrame, roles: Roles, notes: tuple[str, ...]
) -> LogSummary:
    """Summarise the parts of a log."""
    codes = configs.index.get_indexer(pd.Index(points[roles.run]))
    axis = points[roles.axis].to_numpy(dtype=float)
    counts = np.bincount(codes, minlength=len(configs))
    last = np.r_[np.diff(codes) != 0, True]
    marked = points[DIVERGED].to_numpy()
    ended = marked[last]
    spiked = (np.bincount(codes[marked], minlength=len(configs)) > 0) & ~ended
    unfinished: tuple[Any, ...] = ()
    if roles.horizon is not None:
        short = axis[last] < FINISHED * configs[roles.horizon].to_numpy(dtype=float)
        unfinished = tuple(configs.index[short])
    return LogSummary(
        runs=len(configs),
        points=len(points),
        points_per_run=(int(counts.min()), float(np.median(counts)), int(counts.max())),
        axis=(roles.axis, float(axis.min()), float(axis.max())),
        outputs=tuple(_output(column_of(points, name)) for name in roles.outputs),
        levels=tuple(_column(column_of(configs, name)) for name in roles.levels),
        empty_cells=_empty_cells(configs, roles.levels),
        params=None if roles.params is None else _column(column_of(configs, roles.params)),
        horizon=None if roles.horizon is None else _column(column_of(configs, roles.horizon)),
        config=tuple(_column(column_of(configs, name)) for name in roles.config),
        unfinished=unfinished,
        gaps=_gaps(configs.index, codes, axis),
        diverged=tuple(configs.index[ended]),
        recovered=tuple(configs.index[spiked]),
        notes=notes,
    )


def _output(column: pd.Series) -> tuple[str, float, float, int]:
    values = column.to_numpy(dtype=float)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
    return (str(column.name), low, high, len(values) - len(finite))


def _column(column: pd.Series) -> ColumnSummary:
    values = column.dropna()
    counts = values.astype(object).value_counts()
    truth = len(values) > 0 and all(isinstance(value, (bool, np.bool_)) for value in counts.index)
    number = not truth and all(isinstance(value, (int, float, np.number)) for value in counts.index)
    return ColumnSummary(
        name=str(column.name),
        kind="truth" if truth else "number" if number else "text",
        distinct=len(counts),
        missing=int(column.isna().sum()),
        low=float(min(counts.index)) if number and len(counts) else None,
        high=float(max(counts.index)) if number and len(counts) else None,
        common=tuple((value, int(count)) for value, count in itertools.islice(counts.items(), 6)),
    )


def _empty_cells(configs: pd.DataFrame, levels: tuple[str, ...]) -> tuple[int, int]:
    if len(levels) < 2:
        return (0, 0)
    total = math.prod(column_of(configs, name).nunique() for name in levels)
    return (total - len(configs[list(levels)].drop_duplicates()), total)


def _gaps(runs: pd.Index, codes: np.ndarray, axis: np.ndarray) -> tuple[Gap, ...]:
    if len(axis) < 4:
        return ()
    steps = np.where(np.diff(codes) == 0, np.diff(axis), np.inf)
    middle = steps[1:-1]
    long = np.isfinite(middle) & (middle > GAP_FACTOR * np.maximum(steps[:-2], steps[2:]))
    return tuple(Gap(runs[codes[i]], float(axis[i]), float(axis[i + 1])) for i in np.flatnonzero(long) + 1)
