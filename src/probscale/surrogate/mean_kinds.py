"""Which mean functions are fitted to a log, and which of two stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.encode.encoder import Encoder
from probscale.model.exact import ExactState
from probscale.model.falling import FallingMean
from probscale.model.means import CurveMean, PlaneMean
from probscale.model.transforms import (
    FINALS_FLOOR_SHARE,
    FLOOR_SHARE,
    PLANE_FLOOR_SHARE,
    Affine,
    LogFloor,
    OutputTransform,
    floor_shown,
)
from probscale.runs import RunLog
from probscale.surrogate.options import FitOptions
from probscale.surrogate.rows import layout_of
from probscale.surrogate.transform_choice import FEWEST_SIZES, distinct_sizes, left_out

Array = NDArray[np.float64]

FEWEST_GRID_RUNS = 12
"""Runs from which on a plane beside the law pays on a grid: with 6, 8, 10, 12 and 14 of nanoGPT's training
cells squared errors on upper corners are 1.4, 6.8, .7, .6 and .8 times those of the law alone, log
densities of points .21, .34, .15, .08 and .01 smaller."""

MOST_AVERAGED = 1_500
"""Points of a grid from which on a plane does without a law."""


def kinds_for(log: RunLog, encoder: Encoder, options: FitOptions) -> tuple[str, ...]:
    """Mean functions that suit a log."""
    if options.means:
        return options.means
    if not layout_of(encoder).is_small_grid or log.n_runs < FEWEST_GRID_RUNS:
        return ("law",)
    several = options.average and log.n_points <= MOST_AVERAGED and log.roles.params is not None
    return ("law", "plane") if several else ("plane",)


def floor_share(kinds: tuple[str, ...], *, curves: bool) -> float:
    """Share of the smallest loss that the transform subtracts under such means."""
    if kinds == ("plane",) or (curves and "plane" in kinds):
        return PLANE_FLOOR_SHARE
    return FLOOR_SHARE if curves else FINALS_FLOOR_SHARE


def rivals(transform: OutputTransform, output: Array, size: Array, *, curves: bool) -> tuple[str, ...]:
    """Means of which the second stays where it foretells better what was left out, or one, not compared.

    Losses that span decades may be products of powers. Curves of signed outputs may flatten with size (the
    kind "law" of what no law describes), as simulated ones do, or go on as a plane: on 17 folds inside
    training rows of five sources, whose losses were made signed, a plane has .94 of the CRPS.

    Args:
        transform: Output to the modelled scale.
        output: Outputs, user units, (points,).
        size: Logarithms of their model sizes, (points,); the largest of three is left out to compare.
        curves: Points are of curves.
    """
    enough = len(distinct_sizes(size)[1]) >= FEWEST_SIZES
    if isinstance(transform, LogFloor):
        spans = transform.upper is None and floor_shown(output) < 1.0
        return ("law", "falling") if enough and spans else ("law",)
    if curves and isinstance(transform, Affine) and transform.upper is None:
        return ("plane", "law") if enough else ("plane",)
    return ("law",)


def kind_of(mean: CurveMean) -> str:
    """The kind under which a mean is fitted again: what is no plane and no product goes with its output."""
    if isinstance(mean, FallingMean):
        return "falling"
    return "plane" if isinstance(mean, PlaneMean) else "law"


def second_stays(first: ExactState, second: ExactState, cells: NDArray[np.intp]) -> bool:
    """Whether the second of two means foretells better what was left out, and the two largest sizes.

    Cells, level values and the largest size are left out in turn (`transform_choice`), then the two largest
    sizes together (of three, one): next to its neighbours a size says little of how sizes go on.

    Args:
        first: Posterior under the usual mean.
        second: The same under its rival.
        cells: Cell of each point, (points,).
    """
    size, distinct = distinct_sizes(first.data.rows.size.numpy())
    largest = np.flatnonzero(size >= distinct[-min(2, len(distinct) - 2)])
    told = (
        (left_out(state, cells), float(state.density_without(largest).mean())) for state in (first, second)
    )
    return all(mine < others for mine, others in zip(*told, strict=True))
