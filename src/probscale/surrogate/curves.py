"""CurveSurrogate: a fitted model of training runs, asked in user units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from probscale.encode.fields import label, label_code
from probscale.errors import RunLogError
from probscale.model.gp import Observations
from probscale.runs import RunLog
from probscale.surrogate.expert import Expert
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.grid import GridExpert
from probscale.surrogate.posterior import CurvePosterior
from probscale.surrogate.query import Configs, read_at, read_configs
from probscale.surrogate.report import FitReport

if TYPE_CHECKING:
    from pathlib import Path

    from probscale.surrogate.best import BestConfig
    from probscale.surrogate.botorch_model import CurveModel

Array = NDArray[np.float64]

POOLED = "all runs"

FEWEST_PER_RUN = 6
"""Points of a run below which a curve is no longer a curve: then runs are left out instead."""

CurveExpert = Expert | FunctionalExpert | GridExpert
"""A fitted model of some runs, whatever its engine."""

PREFIX_POINTS = 12
"""Points of an observed prefix that enter a prediction when the log was too long to hold it."""


def run_codes(runs: pd.Index | list[object]) -> Array:
    """Codes of run identifiers: equal for equal identifiers, the same in every process."""
    return np.array([label_code(f"run {label(run)}") for run in runs], dtype=np.float64)


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
                self._with_prefixes(self.experts[name], codes[where]).block(
                    frame.iloc[where], codes[where], values[where]
                ),
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
                experts[name] = _extended(experts[name], more, codes, np.flatnonzero(keep))
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

    def _with_prefixes(self, expert: CurveExpert, codes: Array) -> CurveExpert:
        """The expert with the prefixes of asked runs that a long log left out of its data."""
        if isinstance(expert, GridExpert):
            return expert
        if isinstance(expert, FunctionalExpert):
            return self._with_observed(expert, codes)
        column = expert.encoder.run_column
        asked = codes[codes >= 0]
        if column is None or not len(asked):
            return expert
        absent = asked[~np.isin(asked, expert.states[0].data.rows.x[:, column].numpy())]
        if not len(absent):
            return expert
        known = run_codes(self.log.runs)
        output = self.log.points[self.log.output].to_numpy(dtype=np.float64)
        mine = np.isin(known[self.log.codes], absent) & np.isfinite(output)
        where = np.flatnonzero(mine)
        most = PREFIX_POINTS * len(np.unique(absent))
        where = where[thinned(self.log.codes[where], most, np.random.default_rng(0))]
        return _extended(expert, self.log, known, where) if len(where) else expert

    def _with_observed(self, expert: FunctionalExpert, codes: Array) -> FunctionalExpert:
        """The expert with the points of asked runs that were too many to learn from."""
        absent = [code for code in codes if code >= 0 and code not in expert.observed]
        if not absent:
            return expert
        known = run_codes(self.log.runs)
        output = self.log.points[self.log.output].to_numpy(dtype=np.float64)
        where = np.flatnonzero(np.isin(known[self.log.codes], absent) & np.isfinite(output))
        return expert.shown(self.log, known, where)

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
        old = pd.MultiIndex.from_frame(self.log.points[[run, axis]])
        asked = pd.MultiIndex.from_frame(more.points[[run, axis]])
        return ~asked.isin(old) & np.isfinite(more.points[self.log.output].to_numpy(dtype=np.float64))


def thinned(codes: NDArray[np.intp], most: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """Positions of at most `most` points: fewer points of every run, then fewer runs."""
    if len(codes) <= most:
        return np.arange(len(codes))
    runs, starts, counts = np.unique(codes, return_index=True, return_counts=True)
    per_run = max(int(most // len(runs)), min(FEWEST_PER_RUN, int(counts.max())))
    fit = max(most // per_run, 1)
    chosen = runs if len(runs) <= fit else np.sort(generator.permutation(runs)[:fit])
    picked = []
    for run in np.flatnonzero(np.isin(runs, chosen)):
        # Dense towards the end, where curves are judged; the last point always stays.
        share = 1 - np.linspace(0, 1, min(per_run, counts[run]))[::-1] ** 1.5 if per_run > 1 else np.ones(1)
        picked.append(starts[run] + np.unique(np.round(share * (counts[run] - 1)).astype(np.intp)))
    return np.concatenate(picked)


def _extended(expert: CurveExpert, more: RunLog, codes: Array, where: NDArray[np.intp]) -> CurveExpert:
    """Expert after the points `where` of a log."""
    if not isinstance(expert, Expert):
        return expert.extended(more, codes, where)
    at = more.points[more.roles.axis].to_numpy(dtype=np.float64)[where]
    output = more.points[more.output].to_numpy(dtype=np.float64)[where]
    rows = expert.rows(more.configs, codes, more.codes[where], at)
    y = expert.transform.forward(output)
    y = np.where(np.isfinite(y), y, _lowest(expert))
    states = tuple(
        state.extend(Observations(rows, torch.from_numpy(y), torch.ones(len(y), dtype=torch.float64)))
        for state in expert.states
    )
    return expert.with_states(states)


def _lowest(expert: Expert) -> float:
    """Stand-in for outputs at or below the floor: the smallest modelled value seen."""
    return float(expert.states[0].data.y.min())
