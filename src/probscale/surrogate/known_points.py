"""Points of a log as experts look them up: codes of runs, points of some runs, fewer points of many."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.fields import label, label_code
from probscale.runs import RunLog
from probscale.runs.schema import DIVERGED

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

MOST_SEEN = 40
"""Points of a run that enter the model; longer runs are thinned evenly in progress."""

FEWEST_PER_RUN = 6
"""Points of a run below which a curve is no longer a curve: then runs are left out instead."""


def run_codes(runs: pd.Index | list[object]) -> Array:
    """Codes of run identifiers: equal for equal identifiers, the same in every process."""
    return np.array([label_code(f"run {label(run)}") for run in runs], dtype=np.float64)


def asked_codes(frame: pd.DataFrame, log: RunLog) -> Array:
    """Run codes of asked configurations: of the log for its own runs, negative and distinct for new ones.

    Args:
        frame: Configurations, with or without a column of runs, one row each.
        log: Whose runs may be continued.
    """
    fresh = -np.arange(1.0, len(frame) + 1)
    run = log.roles.run
    if run not in frame:
        return fresh
    known = frame[run].isin(log.runs).to_numpy()
    return np.where(known, run_codes(list(frame[run])), fresh)


def points_of(log: RunLog, codes: Array, outputs: tuple[str, ...] = ()) -> tuple[Array, NDArray[np.intp]]:
    """Codes of all runs of a log, and positions of the finite points of the runs with the given codes.

    Finite is a point with a finite value of any of `outputs`, by default of the principal one.
    """
    known = run_codes(log.runs)
    values = log.points[list(outputs or (log.output,))].to_numpy(dtype=np.float64)
    finite = np.isfinite(values).any(axis=1)
    return known, np.flatnonzero(np.isin(known[log.codes], codes) & finite)


def spikes_of(log: RunLog) -> NDArray[np.bool_]:
    """Which points are marked as diverged although their run has others, (points,).

    They say nothing of where the run goes; a run all of whose points are marked has diverged.
    """
    marked = log.points[DIVERGED].to_numpy(dtype=bool)
    return marked & np.isin(log.codes, log.codes[~marked])


def ended_diverged(log: RunLog) -> NDArray[np.bool_]:
    """Which runs end with a point that is marked as diverged, (runs,)."""
    last = np.append(log.codes[1:] != log.codes[:-1], True)
    ended = np.zeros(log.n_runs, dtype=bool)
    ended[log.codes[last]] = log.points[DIVERGED].to_numpy(dtype=bool)[last]
    return ended


def usual_ends(log: RunLog, ended: NDArray[np.bool_]) -> Array:
    """How far each run would have gone, (runs,): to its planned end, or as far as half of the others go.

    Never less than it has gone. A run that diverged stays so: where it broke off says nothing.

    Args:
        log: Runs.
        ended: Which of them broke off.
    """
    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)
    ends = np.zeros(log.n_runs)
    np.maximum.at(ends, log.codes, at)
    others = ends if ended.all() else ends[~ended]
    name = log.roles.horizon
    planned = np.full(log.n_runs, np.nan) if name is None else log.configs[name].to_numpy(dtype=np.float64)
    return np.maximum(ends, np.where(np.isfinite(planned), planned, np.median(others)))


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


def places_of(
    codes: NDArray[np.intp], at: pd.Series, asked: NDArray[np.intp], places: pd.Series
) -> NDArray[np.intp]:
    """Positions of points of runs among those of a log, -1 where there is none, (asked,).

    Args:
        codes: Run of each point of the log, rising, (points,).
        at: Their axis values, rising within a run.
        asked: Run of each asked point, (asked,); -1 is none of the log's.
        places: Their axis values.
    """
    both = np.concatenate([part.to_numpy(dtype=np.float64) for part in (at, places)])
    values, rank = np.unique(both, return_inverse=True)
    known = codes * len(values) + rank[: len(codes)]
    wanted = asked * len(values) + rank[len(codes) :]
    found = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where((known[found] == wanted) & (asked >= 0), found, -1)


def spread_evenly(v: Array) -> Positions:
    """Positions of at most `MOST_SEEN` points of a run, even in progress, the last one among them."""
    count = len(v)
    if count <= MOST_SEEN:
        return np.arange(count)
    keep = np.unique(np.searchsorted(v, np.linspace(v[0], v[-1], MOST_SEEN)).clip(0, count - 1))
    keep[-1] = count - 1
    return keep
