"""Where the frontier is reached: the best configuration at each compute, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.envelope import line_through
from probscale.scaling.draws import Draws

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OptimumPosterior:
    """Posterior of the compute-optimal configuration.

    Attributes:
        compute: Levels of compute, (levels,).
        params: Model size at the optimum, draws of (levels,); None without a params role.
        axis: Axis value at the optimum, draws of (levels,).
        probability: Probability of each configuration of the pool to be the best, (configs, levels).
        index: Index of the pool.
        axis_name: Name of the axis.
        ranks: Place of each configuration in the order in which the first of several with the same
            probability is named; by default that of the pool.
        followed: Levels through which exponents are taken, (levels,); by default all that are reached.
    """

    compute: Array
    params: Draws | None
    axis: Draws
    probability: Array
    index: pd.Index
    axis_name: str
    ranks: NDArray[np.intp] | None = None
    followed: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        configs, levels = self.probability.shape
        return f"OptimumPosterior({levels} levels of compute, {configs} configurations; see to_frame)"

    @property
    def config(self) -> pd.Index:
        """The configuration most likely to be the best at each level, by its index in the pool."""
        order = np.arange(len(self.index)) if self.ranks is None else np.argsort(self.ranks)
        return self.index[order[self.probability[order].argmax(axis=0)]]

    @cached_property
    def params_exponent(self) -> Draws | None:
        """Exponent of params in compute along the optimum; None without a params role."""
        return None if self.params is None else self._exponent(self.params)

    @cached_property
    def axis_exponent(self) -> Draws:
        """Exponent of the axis value in compute along the optimum."""
        return self._exponent(self.axis)

    def to_frame(self, level: float = 0.9) -> pd.DataFrame:
        """One row per level: best configuration, its probability, params and axis value with intervals."""
        table = pd.DataFrame(
            {"compute": self.compute, "config": self.config, "probability": self.probability.max(axis=0)}
        )
        parts = {"params": self.params, self.axis_name: self.axis}
        for name, draws in parts.items():
            if draws is not None:
                lower, upper = draws.interval(level)
                table[name], table[f"{name}_lower"], table[f"{name}_upper"] = draws.mean, lower, upper
        return table

    def _exponent(self, draws: Draws) -> Draws:
        kept = np.isfinite(draws.values).all(axis=0)
        kept = kept if self.followed is None else kept & self.followed
        return Draws(line_through(np.log(self.compute[kept]), np.log(draws.values[:, kept]))[0])
