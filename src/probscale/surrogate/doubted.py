"""Runs whose points a fit takes for outliers, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.runs import RunLog
from probscale.surrogate.expert import Expert
from probscale.surrogate.known_points import run_codes

Array = NDArray[np.float64]

DOUBTED = 0.25
"""Weight below which a point counts as an outlier."""


def doubted_runs(log: RunLog, expert: Expert) -> tuple[int, tuple[str, ...]]:
    """Number of points taken for outliers, and their runs, those with most such points first.

    Args:
        log: What the expert of one output was fitted to.
        expert: The expert.
    """
    data = expert.states[0].data
    low = np.flatnonzero(data.weight.numpy() < DOUBTED)
    if not len(low):
        return 0, ()
    if expert.encoder.run_column is not None:
        return len(low), names_of(log, data.rows.x[low, expert.encoder.run_column].numpy())
    found = _by_value(log, expert, low)
    return len(low), tuple(str(log.runs[run]) for run in found)


def names_of(log: RunLog, codes: Array) -> tuple[str, ...]:
    """Runs of codes of points, those of most points first, then in the order of the log."""
    counts = (codes[:, None] == run_codes(log.runs)).sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    return tuple(str(log.runs[run]) for run in order[: np.count_nonzero(counts)])


def _by_value(log: RunLog, expert: Expert, low: NDArray[np.intp]) -> list[int]:
    """Positions of the runs of finals, whose rows do not say which run they are: those alike in all else."""
    data = expert.states[0].data
    modelled = expert.transform.forward(log.points[log.output].to_numpy(dtype=np.float64))
    asked = data.y[low].numpy()
    near = np.flatnonzero(np.isclose(modelled[:, None], asked, rtol=1e-9, atol=1e-12).any(axis=1))
    at = log.points[log.roles.axis].to_numpy(dtype=np.float64)[near]
    rows = expert.rows(log.configs, run_codes(log.runs), log.codes[near], at)
    same = [
        near[((rows.x == data.rows.x[row]).all(1) & (rows.progress == data.rows.progress[row])).numpy()]
        for row in low
    ]
    return sorted({int(log.codes[point]) for points in same for point in points})
