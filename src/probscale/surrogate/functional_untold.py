"""Functional engine: runs added without a setting that all runs of the fit have; by what they may be off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.surrogate.untold import Untold

if TYPE_CHECKING:
    from probscale.surrogate.functional import FunctionalExpert

Array = NDArray[np.float64]


def strays_of(expert: FunctionalExpert, codes: Array, untold: Untold) -> dict[float, Array]:
    """Variances of scores beside the usual, (scores,), by run code.

    Args:
        expert: What is known without the runs.
        codes: Run codes of the log of which `untold` are some.
        untold: The runs.
    """

    def scores(configs: pd.DataFrame) -> Array:
        ends = expert.clock.ends(expert.horizons(configs))
        return expert.scores.means(expert.rows(configs, untold.fresh, ends))

    extra = np.square(untold.moves(scores)).mean(axis=0)
    return dict(zip(map(float, codes[untold.runs]), extra, strict=True))


def with_strays(strays: Mapping[float, Array], codes: Array, variance: Array) -> Array:
    """Variances of scores of runs, (runs, scores), what they may be off by included."""
    if not strays:
        return variance
    none = np.zeros(variance.shape[1])
    return variance + np.stack([strays.get(float(code), none) for code in codes])
