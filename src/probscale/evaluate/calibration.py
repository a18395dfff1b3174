"""`check`: refit with parts of a log left out, per regime, and see whether the intervals can be bet on."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from probscale.encode.embedders import Embedder
from probscale.errors import ConfigError, expecting_new_values
from probscale.evaluate.baselines import forecasts_of_continuations, forecasts_of_new_runs
from probscale.evaluate.checkreport import CheckReport, report_of
from probscale.evaluate.regimes import (
    FEWEST_RUNS,
    MOST_POINTS,
    Fold,
    chosen_regimes,
    folds_of,
    prefix_name,
    thinned_points,
    thinned_runs,
)
from probscale.evaluate.scores import score_points
from probscale.randomness import generator_of
from probscale.runs import RunLog
from probscale.runs.log import check_log
from probscale.runs.order import canonical
from probscale.surrogate import CurveSurrogate, fit_surrogate
from probscale.surrogate.options import FitOptions

Array = NDArray[np.float64]

MOST_RUNS = 400
"""Runs on which a log is checked, by default."""

PREFIX_POINTS = 12
"""Points of a beginning that the surrogate is conditioned on."""


@dataclass(frozen=True)
class _Job:
    """What a refit needs beside its fold."""

    embedder: str | Path | Embedder | None
    seed: int
    options: FitOptions | None
    regimes: tuple[str, ...]


def check(
    log: RunLog,
    *,
    regimes: str | Iterable[str] = "auto",
    embedder: str | Path | Embedder | None = "default",
    seed: int = 0,
    folds: int = 3,
    most_runs: int = MOST_RUNS,
    executor: Executor | None = None,
    progress: bool = False,
    options: FitOptions | None = None,
) -> CheckReport:
    """How far forecasts from this log can be trusted, regime by regime.

    Parts of the log are left out, the surrogate is fitted to the rest, and what it forecasts is compared with
    what was measured: random runs ("in-distribution"), the largest models ("larger scale"), the rest of runs
    whose first 10, 20 or 50 % are seen ("prefix"), new values of the last level ("unseen level") and of the
    first ("unseen source"). Boosted trees, a law and each curve's own power law stand beside it.

    Args:
        log: The runs.
        regimes: "auto" for all that the log allows, or some of the names above.
        embedder: As in `fit_surrogate`.
        seed: Same log and seed, same report.
        folds: Refits per regime; two at most for larger scale. Prefixes share the refits of in-distribution.
        most_runs: Logs with more runs are thinned to so many at random, which the report says.
        executor: Where refits run, such as a `ProcessPoolExecutor`; in turn by default.
        progress: Show a progress bar.
        options: Settings of the fits.

    Raises:
        ConfigError: for a log with fewer than six runs, an unknown regime, one the log cannot tell about, or
            numbers that make no sense.

    Cost: `folds` fits per regime, each a few seconds to a minute.
    """
    start = time.perf_counter()
    check_log(log, "check")
    _check_numbers(folds, most_runs)
    notes: list[str] = []
    if log.n_runs > most_runs:
        notes.append(f"checked on {most_runs:,} of {log.n_runs:,} runs, drawn at random (seed {seed})")
        everything = np.ones(log.n_runs, dtype=bool)
        log = canonical(log).select(thinned_runs(everything, most_runs, generator_of(seed)))
    chosen = chosen_regimes(log, regimes)
    plan = folds_of(log, chosen, folds=folds, seed=seed)
    job = partial(_score_fold, job=_Job(embedder, seed, options, chosen))
    scored = (map if executor is None else executor.map)(job, plan)
    parts = list(tqdm(scored, total=len(plan), desc="refitting", disable=not progress))
    tables = [part.assign(fold=number) for number, (part, _) in enumerate(parts)]
    notes += dict.fromkeys(note for _, said in parts for note in said)
    seconds = time.perf_counter() - start
    return report_of(pd.concat(tables, ignore_index=True), log, tuple(notes), seconds)


def _check_numbers(folds: int, most_runs: int) -> None:
    if not isinstance(folds, Integral) or folds < 1:
        raise ConfigError(f"folds is {folds!r}; at least one refit per regime is needed", folds=folds)
    if most_runs < FEWEST_RUNS:
        raise ConfigError(
            f"most_runs is {most_runs}; a check needs at least {FEWEST_RUNS}", most_runs=most_runs
        )


def _score_fold(fold: Fold, *, job: _Job) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Scored points of one refit, and what was left out of them."""
    surrogate = fit_surrogate(fold.train, embedder=job.embedder, seed=job.seed, options=job.options)
    tables = list(_scored(surrogate, fold, job))
    marked = int(fold.test.points["diverged"].to_numpy(dtype=bool).sum())
    notes = (f"{marked} diverged points are not scored",) if marked else ()
    return pd.concat(tables, ignore_index=True), notes


def _scored(surrogate: CurveSurrogate, fold: Fold, job: _Job) -> Iterator[pd.DataFrame]:
    asked = _measured(thinned_points(fold.test, MOST_POINTS))
    if asked is not None and fold.regime in job.regimes:
        plain = forecasts_of_new_runs(thinned_points(fold.train, MOST_POINTS), asked, seed=job.seed)
        yield _table(surrogate, asked, fold, fold.regime, plain, continues=False)
    for share in fold.prefixes:
        seen, rest = _cut(fold.test, share)
        if seen is None or rest is None:
            continue
        plain = forecasts_of_continuations(seen, rest)
        known = surrogate.condition(thinned_points(seen, PREFIX_POINTS))
        yield _table(known, rest, fold, prefix_name(share), plain, continues=True)


def _cut(test: RunLog, share: float) -> tuple[RunLog | None, RunLog | None]:
    """Beginnings of runs, and their points afterwards, of runs that have both."""
    ends = _ends(test)
    at = test.points[test.roles.axis].to_numpy(dtype=np.float64)
    early = _only(test, at <= (share * ends)[test.codes])
    early = None if early is None else _measured(early)
    late = _only(test, at > (share * ends)[test.codes])
    late = None if late is None else _measured(thinned_points(late, MOST_POINTS))
    if early is None or late is None:
        return None, None
    both = early.runs.intersection(late.runs)
    return (early.select(both), late.select(both)) if len(both) else (None, None)


def _ends(log: RunLog) -> Array:
    if log.roles.horizon is not None:
        return log.configs[log.roles.horizon].to_numpy(dtype=np.float64)
    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    ends = np.zeros(log.n_runs)
    np.maximum.at(ends, log.codes, at)
    return ends


def _measured(log: RunLog) -> RunLog | None:
    """Points with a finite output that did not diverge."""
    finite = np.isfinite(log.points[log.output].to_numpy(dtype=np.float64))
    return _only(log, finite & ~log.points["diverged"].to_numpy(dtype=bool))


def _only(log: RunLog, keep: NDArray[np.bool_]) -> RunLog | None:
    """The log with some of its points; None if none is left."""
    if not keep.any():
        return None
    present = np.bincount(log.codes[keep], minlength=log.n_runs) > 0
    points = log.points.iloc[np.flatnonzero(keep)].reset_index(drop=True)
    return replace(log, configs=log.configs[present], points=points)


def _table(
    surrogate: CurveSurrogate,
    asked: RunLog,
    fold: Fold,
    regime: str,
    plain: dict[str, Array],
    *,
    continues: bool,
) -> pd.DataFrame:
    """Scored points of some runs, baselines beside them."""
    at, truth, place = padded(asked)
    configs = asked.configs.reset_index(drop=True)
    if continues:
        configs[asked.roles.run] = list(asked.runs)
    with expecting_new_values():
        curves = surrogate.predict(configs, at)
    table = score_points(curves, truth, runs=asked.runs)
    table.insert(0, "regime", regime)
    table["cluster"] = [str(v) for v in fold.cluster.loc[table["run"]]] if not continues else table["run"]
    for name, values in plain.items():
        table[f"baseline {name}"] = values[place]
    return table


def padded(log: RunLog) -> tuple[Array, Array, NDArray[np.intp]]:
    """Points of a log in rows of equal length.

    Returns:
        Axis values, (runs, points), short rows filled with their last one; outputs, NaN where filled; and the
        position of each point of the log, row by row.
    """
    counts = np.bincount(log.codes, minlength=log.n_runs)
    column = np.arange(log.n_points) - np.repeat(np.cumsum(counts) - counts, counts)
    at = np.full((log.n_runs, counts.max()), np.nan)
    truth = np.full(at.shape, np.nan)
    at[log.codes, column] = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    truth[log.codes, column] = log.points[log.output].to_numpy(dtype=np.float64)
    last = at[np.arange(log.n_runs), counts - 1]
    return np.where(np.isnan(at), last[:, None], at), truth, np.lexsort((column, log.codes))
