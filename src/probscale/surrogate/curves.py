"""CurveSurrogate: a fitted model of training runs, asked in user units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.encode.fields import label
from probscale.errors import RunLogError
from probscale.runs import RunLog
from probscale.surrogate.expert import Expert
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.known_points import run_codes
from probscale.surrogate.posterior import CurvePosterior
from probscale.surrogate.query import Configs, read_at, read_configs
from probscale.surrogate.report import FitReport

if TYPE_CHECKING:
    from pathlib import Path

    from probscale.surrogate.best import BestConfig
    from probscale.surrogate.botorch_model import CurveModel

Array = NDArray[np.float64]

POOLED = "all runs"

CurveExpert = Expert | FunctionalExpert | GridExpert
"""A fitted model of some runs, whatever its engine."""


@dataclass(frozen=True, eq=False)
class CurveSurrogate:
    """Joint posterior over the learning curves of a family of runs.

    Made by `fit_surrogate`; every verb returns a new value.

    Attributes:
        log: Runs it has learnt from.
        experts: Fitted models: one of all runs ("all runs"), and one per source where sources are large.
        report: What was fitted, and what was repaired.
    """

    log: RunLog
    experts: Mapping[str, CurveExpert]
    report: FitReport

    def __repr__(self) -> str:
        log = self.log
        return f"CurveSurrogate({log.n_runs} runs, {log.n_points} points, {log.output} by {log.roles.axis})"

    def predict(self, configs: Configs, at: ArrayLike) -> CurvePosterior:
        """Joint posterior of the curves of configurations.

        Args:
            configs: DataFrame or list of dicts: configuration, level and role columns. Optional fields may be
                missing, level values may be new. A run column that names a run of the log asks for that run's
                continuation; its configuration is then filled in from the log where it is not given.
                Otherwise each row is a new run.
            at: Axis values, shape (points,), shared by all, or (configs, points); units of the axis.

        Raises:
            ConfigError: if configurations are empty or a value is not accepted.
            ShapeError: if `at` does not match the configurations.

        Cost: O(configs × points × observations²).
        """
        frame = read_configs(configs, self.log)
        values = read_at(at, len(frame), self.log.roles.axis)
        codes = self._codes(frame)
        blocks = [
            (
                where,
                self.experts[name]
                .begun(self.log, codes[where])
                .block(frame.iloc[where], codes[where], values[where]),
            )
            for name, where in self._assigned(frame).items()
        ]
        return CurvePosterior(values, frame.index, self.log.roles.axis, self.log.output, tuple(blocks))

    def condition(self, more: RunLog) -> CurveSurrogate:
        """The surrogate after more data: new runs, or longer prefixes of known ones; parameters stay.

        Raises:
            RunLogError: if roles differ, or points contradict the log.

        Cost: O(observations² × new points).
        """
        log = self.log + more
        new = self._new_points(more)
        codes = run_codes(list(more.runs))
        experts = dict(self.experts)
        members = self._assigned(more.configs, every=True)
        for name, where in members.items():
            keep = new & np.isin(more.codes, where)
            if keep.any():
                experts[name] = experts[name].extended(more, codes, np.flatnonzero(keep))
        return replace(self, log=log, experts=experts)

    def best(
        self, pool: Configs, at: ArrayLike, *, within: float = 0.01, samples: int = 512, seed: int = 0
    ) -> BestConfig:
        """Configuration of a pool with the best predicted output; see `best.best_config`."""
        from probscale.surrogate.best import best_config

        return best_config(self, pool, at, within=within, samples=samples, seed=seed)

    def botorch(self, at: ArrayLike | Literal["horizon"], *, expert: str | None = None) -> CurveModel:
        """BoTorch model of the outputs at axis values; see `botorch_model.CurveModel`.

        Args:
            at: Axis values, (outputs,), or "horizon" for the planned end of each configuration.
            expert: Which of `experts` answers; by default the one of all runs.

        Raises:
            ConfigError: for an unknown expert, or axis values that are not accepted.
        """
        from probscale.surrogate.botorch_model import curve_model

        return curve_model(self, at, expert)

    def save(self, path: str | Path) -> None:
        """Write the surrogate to one file (safetensors, no pickle); see `load_surrogate`."""
        from probscale.surrogate.saving import save_surrogate

        save_surrogate(self, path)

    def _codes(self, frame: pd.DataFrame) -> Array:
        """Run codes: of the log for its own runs, negative and distinct for new ones."""
        fresh = -np.arange(1.0, len(frame) + 1)
        run = self.log.roles.run
        if run not in frame:
            return fresh
        known = frame[run].isin(self.log.runs).to_numpy()
        return np.where(known, run_codes(list(frame[run])), fresh)

    def _assigned(self, frame: pd.DataFrame, *, every: bool = False) -> dict[str, NDArray[np.intp]]:
        """Which expert answers for which rows; with `every`, which experts learn from which rows."""
        positions = np.arange(len(frame))
        if len(self.experts) == 1:
            return {next(iter(self.experts)): positions}
        values = np.array([label(v) for v in frame[self.log.roles.levels[0]]], dtype=object)
        out = {name: positions[values == name] for name in self.experts if name != POOLED}
        left = ~np.isin(values, list(out))
        out[POOLED] = positions if every else positions[left]
        return {name: where for name, where in out.items() if len(where)}

    def _new_points(self, more: RunLog) -> NDArray[np.bool_]:
        """Which points of a log are not among those already learnt."""
        run, axis = self.log.roles.run, self.log.roles.axis
        if more.roles.run != run or more.roles.axis != axis:
            raise RunLogError(
                f"the new log has run {more.roles.run!r} and axis {more.roles.axis!r}; "
                f"expected {run!r} and {axis!r}"
            )
        told = np.isin(self.log.codes, self.log.configs.index.get_indexer(more.configs.index))
        old = pd.MultiIndex.from_frame(self.log.points.loc[told, [run, axis]])
        asked = pd.MultiIndex.from_frame(more.points[[run, axis]])
        return ~asked.isin(old) & np.isfinite(more.points[self.log.output].to_numpy(dtype=np.float64))
