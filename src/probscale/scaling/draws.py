"""Posterior draws of a quantity, and the summaries asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from probscale.errors import ConfigError
from probscale.randomness import generator_of
from probscale.surrogate.posterior import check_probability, ends_of

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draws:
    """Joint posterior draws.

    Attributes:
        values: Shape (draws, ...); entries of one draw belong together.
    """

    values: Array

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        if self.values.ndim > 1:
            return f"Draws({len(self)} draws of shape {self.values.shape[1:]})"
        low, high = self.interval(0.9)
        return f"Draws({len(self)} draws, mean {self.mean:.4g}, 90 % interval {low:.4g} to {high:.4g})"

    @cached_property
    def mean(self) -> Array:
        """Posterior mean."""
        return self.values.mean(axis=0)

    @cached_property
    def std(self) -> Array:
        """Posterior standard deviation."""
        return self.values.std(axis=0, ddof=1)

    def quantile(self, q: float) -> Array:
        """Value that is undercut with probability `q`.

        Raises:
            ConfigError: if `q` is not strictly between 0 and 1.
        """
        check_probability(q)
        return np.quantile(self.values, q, axis=0)

    def interval(self, level: float = 0.9) -> tuple[Array, Array]:
        """Central interval that holds `level` of the probability: lower and upper.

        Raises:
            ConfigError: if `level` is not strictly between 0 and 1.
        """
        low, high = ends_of(level)
        return self.quantile(low), self.quantile(high)

    def sample(self, n: int, *, seed: int = 0) -> Array:
        """`n` of the draws at random, without repeats while there are enough, (n, ...).

        Raises:
            ConfigError: if `n` is not positive.
        """
        return self.values[chosen_draws(len(self), n, seed)]


def chosen_draws(available: int, n: int, seed: int) -> NDArray[np.intp]:
    """Positions of `n` draws at random.

    Raises:
        ConfigError: if `n` is not positive.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; ask for at least one draw", n=n)
    return generator_of(seed).choice(available, n, replace=n > available)
