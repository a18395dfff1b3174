"""Which rows lie beyond the sizes and lengths of a log, and how far spreads take that into account."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.encode.encoder import Encoder
from probscale.model.means import Rows
from probscale.model.posterior import Tail
from probscale.model.tails import CURVES_BEYOND, FINALS_BEYOND, Beyond

Array = NDArray[np.float64]

MARGIN = 0.05
"""E-folds by which a size or an axis value may exceed the observed ones and still counts as one of them."""

RAMP = 0.25
"""E-folds of the axis over which the spread of curves grows to that beyond the longest run."""

HALF_WAY = 0.5
"""Share of the way to a point from which on begun runs of larger sizes are as sure as those within."""


def expected_beyond(encoder: Encoder) -> Beyond:
    """What is expected of forecasts beyond the observed sizes."""
    return CURVES_BEYOND if encoder.axis.curves else FINALS_BEYOND


def exceeds(rows: Rows, largest: tuple[float, float]) -> NDArray[np.bool_]:
    """Which rows exceed the largest logarithms of model size or axis value by more than `MARGIN`, (rows,)."""
    size, progress = largest
    return (rows.size.numpy() > size + MARGIN) | (rows.progress.numpy() > progress + MARGIN)


def share_beyond(rows: Rows, largest: tuple[float, float]) -> Array:
    """How much of the spread beyond the observed sizes points of curves take, from zero to one, (rows,).

    All of it for larger models; along the axis more and more, so that a curve widens without a step and what
    is said of a point does not depend on which others are asked for.
    """
    size, progress = largest
    along = np.clip((rows.progress.numpy() - progress) / RAMP, 0.0, 1.0)
    return np.where(rows.size.numpy() > size + MARGIN, 1.0, along)


def run_tail(tail: Tail, prefix: Tail, beyond: float, outside: Array, continued: NDArray[np.bool_]) -> Tail:
    """Spread of some runs, of engines that tell new runs from continued ones.

    Args:
        tail: Spread of new runs within the observed scales.
        prefix: Spread of continued runs.
        beyond: Factor on the spread of new runs outside these scales.
        outside: How much of it points take, (runs, points).
        continued: Which runs are continued, (runs,).
    """
    scale, share, spread = (
        np.where(continued, getattr(prefix, name), getattr(tail, name))[:, None]
        for name in ("scale", "share", "spread")
    )
    return Tail(scale * np.where(continued[:, None], 1.0, beyond**outside), share, spread)


def larger_begun(new: Array, continued: Array | float, ahead: Array) -> Array:
    """Scale of the spread of begun runs of sizes larger than any observed, (...).

    What begun runs strayed within the sizes says little of a larger one of which hardly anything is seen: it
    has the scale of new runs beyond the sizes, if that is larger, and comes to that of begun ones where half
    of the way to a point is seen. By log density and CRPS on 25 sets of larger sizes inside training rows.

    Args:
        new: Scale of new runs there, (...).
        continued: Scale of begun runs within the sizes.
        ahead: Logarithm of the axis value over that of the last point seen, (...).
    """
    settled = np.minimum(np.exp(-np.maximum(ahead, 0.0)) / HALF_WAY, 1.0)
    return continued * np.maximum(new / continued, 1.0) ** (1 - settled)
