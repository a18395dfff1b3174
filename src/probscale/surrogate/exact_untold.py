"""Exact engine: runs added without a setting that every run of the fit has, and by what they may be off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.model.exact import ExactState
from probscale.model.means import Rows
from probscale.model.strays import parts_of, run_term_of, with_strays
from probscale.runs import RunLog
from probscale.surrogate.untold import Untold, lines_of

if TYPE_CHECKING:
    from probscale.surrogate.expert import Expert

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class Doubt:
    """What a posterior makes of runs to come that leave something out.

    Attributes:
        state: The posterior; where points belong to curves, the runs have a deviation of their own in it.
        variances: Where they are whole runs, variances of all runs beside the noise, (runs,), per output.
    """

    state: ExactState
    variances: tuple[Array, ...] = ()


def doubt_of(
    expert: Expert, state: ExactState, more: RunLog, codes: Array, where: Positions, untold: Untold
) -> Doubt:
    """Doubt of one of the posteriors of an expert.

    Args:
        expert: The expert.
        state: The posterior.
        more: Log with the new points.
        codes: Run codes of its runs.
        where: Positions of the points that are new.
        untold: The runs.
    """
    at, runs = more.points[more.roles.axis].to_numpy(dtype=np.float64)[where], more.codes[where]
    parts = parts_of(state.process)
    curves = run_term_of(parts[0]) is not None
    axis = expert.encoder.axis
    stations = untold.stations(at, runs, axis, expert.largest[1]) if curves else untold.ends(at, runs)
    moves = [
        untold.moves(partial(_means_of, expert, state, untold.fresh, stations, place))
        for place in range(len(parts))
    ]
    if not curves:
        variances = tuple(np.zeros(more.n_runs) for _ in parts)
        for extra, each in zip(variances, moves, strict=True):
            extra[untold.runs] = np.square(each).mean(axis=(0, 2))
        return Doubt(state, variances)
    rows = _rows_of(expert, untold.typical, untold.fresh, stations, 0)
    places = rows.x[:, parts[0].layout.axis[0]].numpy().reshape(stations.shape)
    sizes = (part.kernel.amplitude(rows.x).detach().numpy().reshape(places.shape) for part in parts)
    lines = [lines_of(each / size, places) for each, size in zip(moves, sizes, strict=True)]
    return Doubt(with_strays(state, codes[untold.runs], lines))


def _rows_of(expert: Expert, configs: pd.DataFrame, runs: Array, at: Array, output: int) -> Rows:
    """Rows of configurations at axis values, (configs, points), those of one next to each other."""
    index, place = np.repeat(np.arange(len(at)), at.shape[1]), None if expert.siblings is None else output
    return expert.rows(configs, runs, index, at.ravel(), place)


def _means_of(
    expert: Expert, state: ExactState, runs: Array, at: Array, output: int, configs: pd.DataFrame
) -> Array:
    """Means of configurations at axis values, (configs, points)."""
    return state.means(_rows_of(expert, configs, runs, at, output)).numpy().reshape(at.shape)
