"""Laws of the frontier, one fitted to each posterior draw: a power law with a floor, and a straight line."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.envelope import line_through
from probscale.scaling.draws import Draws, chosen_draws

Array = NDArray[np.float64]

EXPONENTS = np.geomspace(0.005, 2.0, 121)
"""Exponents tried; the best is refined between its neighbours."""


@dataclass(frozen=True, eq=False)
class LawPosterior:
    """Posterior of the parameters of the frontier's law.

    Parameters are those of loss = floor + coefficient · compute^−exponent, and of the line ln(loss) =
    intercept + slope · ln(compute). For outputs to be maximised the power law is ceiling − coefficient ·
    compute^−exponent, and the line is one of the output itself; so it is for losses that are not all
    positive.

    Attributes:
        draws: Parameter to its posterior draws.
        rising: Whether larger outputs are better.
        logarithmic: Whether the line is one of the logarithm.
    """

    draws: dict[str, Draws]
    rising: bool
    logarithmic: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Parameters."""
        return tuple(self.draws)

    @property
    def mean(self) -> dict[str, float]:
        """Posterior mean of each parameter."""
        return {name: float(draws.mean) for name, draws in self.draws.items()}

    @property
    def median(self) -> dict[str, float]:
        """Posterior median of each parameter; the mean of a coefficient may be that of a few steep draws."""
        return {name: float(draws.quantile(0.5)) for name, draws in self.draws.items()}

    @property
    def std(self) -> dict[str, float]:
        """Posterior standard deviation of each parameter."""
        return {name: float(draws.std) for name, draws in self.draws.items()}

    def interval(self, level: float = 0.9) -> dict[str, tuple[float, float]]:
        """Central interval of each parameter: lower and upper.

        Raises:
            ConfigError: if `level` is not strictly between 0 and 1.
        """
        ends = {name: draws.interval(level) for name, draws in self.draws.items()}
        return {name: (float(lower), float(upper)) for name, (lower, upper) in ends.items()}

    def sample(self, n: int, *, seed: int = 0) -> pd.DataFrame:
        """Joint draws: one row each, one column per parameter.

        Raises:
            ConfigError: if `n` is not positive.
        """
        chosen = chosen_draws(len(self.draws["slope"]), n, seed)
        return pd.DataFrame({name: draws.values[chosen] for name, draws in self.draws.items()})

    def predict(self, compute: ArrayLike) -> Draws:
        """The power law at given compute, (draws, compute)."""
        levels = np.asarray(compute, dtype=np.float64)
        limit = self.draws["ceiling" if self.rising else "floor"].values[:, None]
        gain = self.draws["coefficient"].values[:, None] * levels ** -self.draws["exponent"].values[:, None]
        return Draws(limit - gain if self.rising else limit + gain)

    def __repr__(self) -> str:
        return f"LawPosterior({self})"

    def __str__(self) -> str:
        ends, middle = self.interval(0.9), self.median
        return ", ".join(f"{n} {middle[n]:.4g} [{ends[n][0]:.4g}, {ends[n][1]:.4g}]" for n in self.names)


def fit_laws(compute: Array, frontier: Array, *, goal: str, most: float = math.inf) -> LawPosterior:
    """Both laws fitted to each draw of a frontier.

    Args:
        compute: Levels of compute, (levels,).
        frontier: Draws, (draws, levels); levels without a value are left out.
        goal: "min" or "max".
        most: Largest possible output, which no ceiling passes.

    Cost: O(draws × levels × exponents tried).
    """
    kept = np.isfinite(frontier).all(axis=0)
    levels, values = compute[kept], frontier[:, kept]
    rising = goal == "max"
    logarithmic = not rising and bool((values > 0).all())
    slope, intercept = line_through(np.log(levels), np.log(values) if logarithmic else values)
    limit, coefficient, exponent = power_with_limit(levels, values, rising=rising, most=most)
    named = {
        "exponent": exponent,
        "ceiling" if rising else "floor": limit,
        "coefficient": coefficient,
        "slope": slope,
        "intercept": intercept,
    }
    return LawPosterior({name: Draws(value) for name, value in named.items()}, rising, logarithmic)


def power_with_limit(
    compute: Array, values: Array, *, rising: bool, most: float = math.inf
) -> tuple[Array, Array, Array]:
    """Limit, coefficient and exponent of power laws fitted by least squares, (draws,) each.

    Residuals are relative for positive losses, absolute otherwise; floor (of positive losses) and coefficient
    are not negative, ceilings not above what is possible. For each exponent the other two follow in closed
    form (variable projection, Golub and Pereyra 1973).

    Args:
        compute: Shape (levels,).
        values: Shape (draws, levels).
        rising: Fit limit − coefficient · compute^−exponent instead.
        most: Largest possible value of what rises.
    """
    bounded = rising and math.isfinite(most)
    top = most if bounded else 0.0
    target = top - values if rising else values
    relative = not rising and bool((values > 0).all())
    weight = 1 / np.square(values) if relative else np.ones_like(values)
    least = 0.0 if relative or bounded else -math.inf
    centre = float(np.exp(np.log(compute).mean()))
    misfits = np.stack([_projected(a, compute / centre, target, weight, least)[2] for a in EXPONENTS])
    best = np.clip(misfits.argmin(axis=0), 1, len(EXPONENTS) - 2)
    columns = np.arange(len(values))
    low, middle, high = (misfits[best + shift, columns] for shift in (-1, 0, 1))
    bend = low - 2 * middle + high
    shift = np.where(bend > 0, 0.5 * (low - high) / np.where(bend > 0, bend, 1.0), 0.0)
    step = np.log(EXPONENTS[1] / EXPONENTS[0])
    exponent = EXPONENTS[best] * np.exp(step * np.clip(shift, -1, 1))
    limit, coefficient, _ = _projected(exponent[:, None], compute / centre, target, weight, least)
    return (top - limit if rising else limit), coefficient * centre**exponent, exponent


def _projected(
    exponent: float | Array, ratio: Array, target: Array, weight: Array, least: float
) -> tuple[Array, Array, Array]:
    """Best limit and coefficient for an exponent, and the squared error left, (draws,) each.

    Args:
        exponent: A number, or one per draw, (draws, 1).
        ratio: Compute over its centre, (levels,).
        target: Values of limit + coefficient · ratio^−exponent, (draws, levels).
        weight: Weight of each squared error, (draws, levels).
        least: Smallest limit; minus infinity where there is none.
    """
    basis = np.broadcast_to(ratio ** -np.asarray(exponent), target.shape)
    total, first = weight.sum(axis=1), (weight * basis).sum(axis=1)
    second = (weight * basis**2).sum(axis=1)
    level, cross = (weight * target).sum(axis=1), (weight * basis * target).sum(axis=1)
    spread = np.maximum(total * second - first**2, 1e-300)
    coefficient = np.maximum((total * cross - first * level) / spread, 0.0)
    limit = (level - coefficient * first) / total
    if math.isfinite(least):
        held = np.maximum((cross - least * first) / second, 0.0)
        coefficient = np.where(limit < least, held, coefficient)
        limit = np.maximum(limit, least)
    error = weight * np.square(limit[:, None] + coefficient[:, None] * basis - target)
    return limit, coefficient, error.sum(axis=1)
