"""RunLog: the validated record of training runs that everything else starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from probscale.errors import RunLogError
from probscale.runs import combine, summary
from probscale.runs.checks import show
from probscale.runs.intake import read_table
from probscale.runs.schema import DIVERGED, Goal, Nonfinite, Roles, resolve_roles
from probscale.runs.selection import chosen_runs, limits_of


@dataclass(frozen=True, eq=False, repr=False)
class RunLog:
    """Training runs: one configuration each, and the points measured along the axis.

    Build one with `RunLog.from_frame` or `read_runs`, which validate; verbs return new logs. Treat both
    frames as read-only.

    Attributes:
        configs: One row per run, indexed by run identifier in order of first appearance; columns are levels,
            params, horizon and configuration.
        points: Columns run, axis, outputs and `diverged`; grouped by run in the order of `configs`, the axis
            rising within a run. Outputs are float64 in user units, NaN where missing.
        roles: Meaning of the columns.
        notes: What was marked, ignored or dropped, in sentences.
    """

    configs: pd.DataFrame
    points: pd.DataFrame
    roles: Roles
    notes: tuple[str, ...] = ()

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        run: str,
        axis: str,
        output: str | Iterable[str],
        goal: Goal | Mapping[str, Goal] = "min",
        levels: str | Iterable[str] = (),
        params: str | None = None,
        horizon: str | None = None,
        config: str | Iterable[str] | None = None,
        nonfinite: Nonfinite = "error",
    ) -> RunLog:
        """Read a long-format table: one row per run and axis value, configuration repeated within a run.

        Args:
            frame: The table. Rows of different runs may alternate; within a run the axis must rise.
            run: Column with the run identifier.
            axis: Progress column (tokens, steps, epochs ...).
            output: Measured quantity, or several, the principal one first. With several, a row may miss some.
            goal: "min" for losses, "max" for scores; with several outputs one for all, or one by name.
            levels: Task hierarchy, coarse to fine; numbers or text, present in every row.
            params: Model size; positive.
            horizon: Planned end of the axis; positive.
            config: Configuration columns. By default every other column that is constant within each run;
                columns that are not are ignored and noted. With one point a run all columns qualify, so name
                the configuration if the table also holds other measurements.
            nonfinite: For points without a finite output: "error"; "diverged" keeps and marks them, with
                value NaN; "drop" leaves them out with a note. Points already true in a boolean column named
                `diverged` are always accepted.

        Returns:
            The validated log. Points whose output rises clearly above the start of their run (see
            `diverged_points`) are kept and marked, unless the frame has a boolean column `diverged`, which
            then decides.

        Raises:
            RunLogError: naming the run, the row (counted from 0 in `frame`) and the remedy.

        Cost: O(rows × columns); 250,000 rows take well under a second.

        >>> import pandas as pd
        >>> rows = [("a", 1, 3.0, 1e-3), ("a", 2, 2.5, 1e-3), ("b", 1, 2.9, 1e-2)]
        >>> frame = pd.DataFrame(rows, columns=["id", "step", "loss", "lr"])
        >>> RunLog.from_frame(frame, run="id", axis="step", output="loss")
        RunLog(2 runs, 3 points, loss by step, config: lr)
        """
        if not isinstance(frame, pd.DataFrame):
            remedy = "call its to_pandas()" if hasattr(frame, "to_pandas") else "wrap it in pd.DataFrame"
            library = type(frame).__module__.split(".")[0].replace("builtins", "a")
            raise RunLogError(
                f"the log must be a pandas DataFrame, got {library} {type(frame).__name__}; {remedy}, "
                "or use read_runs for a file"
            )
        roles = resolve_roles(
            frame,
            run=run,
            axis=axis,
            output=output,
            goal=goal,
            levels=levels,
            params=params,
            horizon=horizon,
            config=config,
        )
        return cls(*read_table(frame, roles, explicit=config is not None, nonfinite=nonfinite))

    @property
    def output(self) -> str:
        """The principal output."""
        return self.roles.outputs[0]

    @property
    def runs(self) -> pd.Index:
        """Run identifiers, in order of first appearance."""
        return self.configs.index

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.configs)

    @property
    def n_points(self) -> int:
        """Number of points over all runs."""
        return len(self.points)

    @cached_property
    def codes(self) -> np.ndarray:
        """Per point, the position of its run in `runs`; shape (points,), rising, read-only."""
        codes = self.runs.get_indexer(pd.Index(self.points[self.roles.run]))
        codes.flags.writeable = False
        return codes

    def to_frame(self) -> pd.DataFrame:
        """Long-format table from which `from_frame(frame, **log.roles.arguments())` gives this log again."""
        described = self.configs.iloc[self.codes].reset_index(drop=True)
        return pd.concat([self.points, described], axis=1)

    def equals(self, other: RunLog) -> bool:
        """Whether both logs hold the same roles, configurations and points; notes may differ."""
        return (
            self.roles == other.roles
            and self.configs.index.equals(other.configs.index)
            and self.configs.equals(other.configs)
            and self.points.equals(other.points)
        )

    def describe(self) -> summary.LogSummary:
        """What is in the log: runs, levels, ranges, gaps, unfinished and diverged runs."""
        return summary.summary_of(self.configs, self.points, self.roles, self.notes)

    def select(self, runs: Iterable[Any] | Callable[[pd.DataFrame], Any]) -> RunLog:
        """Some of the runs, in the order of this log.

        Args:
            runs: Run identifiers; or a boolean mask with one value per run; or a function of `configs` that
                gives either.

        Raises:
            RunLogError: for an unknown run, a mask of the wrong length, or when nothing is selected.
        """
        keep = chosen_runs(self.configs, runs)
        return replace(self, configs=self.configs[keep], points=self._points(keep[self.codes]))

    def truncate(
        self,
        until: float | pd.Series | Mapping[Any, float] | None = None,
        *,
        fraction: float | None = None,
    ) -> RunLog:
        """Prefixes of the runs: the points at or before a place on the axis.

        Args:
            until: Axis value, one for all runs or one per run (Series or mapping by run identifier).
            fraction: Instead, a share in (0, 1] of each run's horizon, or without that role of its
                last point.

        Returns:
            A log of the prefixes. Runs without any point that early are left out and noted.

        Raises:
            RunLogError: unless exactly one of both is given, or when no point is left.
        """
        limits = limits_of(self.configs, self._last(), self.roles.horizon, until, fraction)
        early = self.points[self.roles.axis].to_numpy() <= limits[self.codes]
        keep = np.bincount(self.codes[early], minlength=self.n_runs) > 0
        if not keep.any():
            first = self.points[self.roles.axis].min()
            raise RunLogError(
                f"truncation leaves no point: the first {self.roles.axis} of the log is {show(first)}, "
                f"beyond every limit (at most {show(limits.max())})"
            )
        notes = self.notes
        if not keep.all():
            notes = (*notes, f"truncation left out {np.sum(~keep)} runs without a point that early")
        return replace(self, configs=self.configs[keep], points=self._points(early), notes=notes)

    def measured(self, output: str) -> RunLog:
        """The log of one of its outputs: the points where it was measured, or marked as diverged.

        Raises:
            RunLogError: for an output the log does not have, or that was never measured.
        """
        roles = self.roles
        if output not in roles.outputs:
            raise RunLogError(f"no output {output!r}; outputs are: {', '.join(roles.outputs)}", output=output)
        one = replace(roles, outputs=(output,), goal=roles.goal_of(output), goals=())
        points = self.points[[roles.run, roles.axis, output, DIVERGED]]
        finite = np.isfinite(points[output].to_numpy())
        if not finite.any():
            raise RunLogError(f"output {output!r} has no finite value in this log", output=output)
        keep = finite | points[DIVERGED].to_numpy(dtype=bool)
        seen = np.bincount(self.codes[keep], minlength=self.n_runs) > 0
        points = points[keep].reset_index(drop=True)
        return replace(self, configs=self.configs[seen], points=points, roles=one)

    def finals(self) -> RunLog:
        """Only the last point of each run."""
        last = np.r_[np.diff(self.codes) != 0, True]
        return replace(self, points=self._points(last))

    def __add__(self, other: RunLog) -> RunLog:
        """Both logs together; points of a run in both extend it, and must not contradict each other.

        Raises:
            RunLogError: if roles differ, or a run has two configurations, or a point two values.
        """
        if not isinstance(other, RunLog):
            return NotImplemented
        return RunLog(*combine.join(self, other))

    def __repr__(self) -> str:
        roles = self.roles
        parts = [
            f"{self.n_runs:,} runs",
            f"{self.n_points:,} points",
            f"{', '.join(roles.outputs)} by {roles.axis}",
        ]
        parts += [f"levels: {', '.join(roles.levels)}"] if roles.levels else []
        config = [*roles.config[:4], "..."] if len(roles.config) > 4 else roles.config
        parts += [f"config: {', '.join(config)}"] if config else []
        diverged = int(self.points[DIVERGED].to_numpy().sum())
        parts += [f"{diverged:,} diverged points"] if diverged else []
        return f"RunLog({', '.join(parts)})"

    def _points(self, keep: np.ndarray) -> pd.DataFrame:
        return self.points.iloc[np.flatnonzero(keep)].reset_index(drop=True)

    def _last(self) -> np.ndarray:
        last = np.r_[np.diff(self.codes) != 0, True]
        return self.points[self.roles.axis].to_numpy(dtype=float)[last]


def check_log(value: object, verb: str) -> None:
    """Refuse anything but a log where a log is needed.

    Raises:
        RunLogError: naming what was given and how it becomes a log.
    """
    if not isinstance(value, RunLog):
        raise RunLogError(
            f"{verb} needs a RunLog, got {type(value).__name__}; make one with RunLog.from_frame(table, "
            "run=..., axis=..., output=...), or with read_runs for a file"
        )
