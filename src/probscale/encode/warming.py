"""Warm-up that configurations tell: over which share of its horizon a run's learning rate rises."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.encode.columns import known_columns, numbers_of

Array = NDArray[np.float64]

_STEPS = ("warmup_steps", "warmup_iters", "num_warmup_steps", "lr_warmup_steps", "lr_warmup_iters")
_TOTAL = (
    *("max_step", "max_steps", "total_steps", "num_steps", "n_steps", "train_steps", "training_steps"),
    *("num_training_steps", "max_iters", "train_iters", "num_iterations"),
)
_SHARE = ("warmup_ratio", "warmup_fraction", "warmup_frac", "warmup_share", "lr_warmup_fraction")
_LEAST_DATA = 0.02
"""Learning rate summed over a run, as a share of that of a run at the peak, below which it counts as this."""


@dataclass(frozen=True)
class Warming:
    """Columns from which the length of a warm-up can be read.

    Attributes:
        steps: Column with the length of the warm-up, or with its share of the run.
        total: Column with the length of the run in the same unit; None where `steps` is a share.
        usual: Share assumed where a configuration does not tell.
    """

    steps: str
    total: str | None = None
    usual: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return (self.steps,) if self.total is None else (self.steps, self.total)

    def shares(self, configs: pd.DataFrame) -> Array:
        """Share of the run over which the learning rate rises, (runs,); zero without a warm-up."""
        length = numbers_of(configs, self.steps)
        if self.total is not None:
            whole = numbers_of(configs, self.total)
            # A run without a warm-up has none whatever its length.
            length = np.where(length == 0, 0.0, length / np.where(whole > 0, whole, np.nan))
        return np.clip(np.where(np.isfinite(length), length, self.usual), 0.0, 1.0)


def warmth(warm: Array, share: Array) -> Array:
    """What a warm-up does to a curve, (points, 4): nothing where there is none.

    Columns: how far the learning rate is from its peak; logarithm of the mean rate so far, as a share of the
    peak; what is left of the warm-up, fading exponentially; its length as a share of the run so far.

    Args:
        warm: Share of the horizon over which the rate of each point's run rises, (points,).
        share: Share of the horizon at which the point lies, (points,).
    """
    w = np.maximum(warm, 1e-6)
    f = np.clip(share, 1e-9, 1.0)
    mean = np.where(f < w, 0.5 * f / w, 1 - 0.5 * w / f)
    return np.stack(
        [
            1 - np.minimum(f / w, 1.0),
            np.log(np.maximum(mean, _LEAST_DATA)),
            np.exp(-f / w),
            w / np.maximum(f, w),
        ],
        axis=1,
    )


def find_warming(configs: pd.DataFrame, names: Iterable[str]) -> Warming | None:
    """The columns of a table of configurations; None where no warm-up is told, or none of any length.

    Args:
        configs: One row per run.
        names: Columns to look at.
    """
    steps, total, share = known_columns(names, _STEPS, _TOTAL, _SHARE)
    if steps is not None and total is not None:
        found = Warming(steps, total)
    elif share is not None:
        found = Warming(share)
    else:
        return None
    shares = Warming(found.steps, found.total, np.nan).shares(configs)
    if not (shares > 0).any():
        return None
    return Warming(found.steps, found.total, float(np.nanmedian(shares)))
