"""Numerical compute-optimal frontier of the solvable model, with local exponents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import RectBivariateSpline

from probscale.errors import ConfigError
from probscale.theory.equivalent import equivalent_modes
from probscale.theory.phases import Exponents, exponents
from probscale.theory.spectrum import (
    DIM_FACTOR,
    LARGEST_PARAMS,
    FloatArray,
    check_exponents,
    check_training,
    numbers_of,
)
from probscale.theory.volterra import check_rates, integrate, largest_stable_rate, require_stable

Rates = float | Callable[[int], float] | None

_ATOMS_PER_DECADE = 30
_COARSE_RATIO = 2.5
_FINE_RATIO = 1.25
_SMALLEST_PARAMS = 8
_STEP_POINTS_PER_DECADE = 16


@dataclass(frozen=True, eq=False)
class Frontier:
    """Best expected loss at each compute f = params · steps · batch, and how to reach it.

    Attributes:
        compute: Compute budgets; shape (budgets,).
        params: Optimal parameter count at each budget, as a real number.
        steps: Optimal number of steps.
        loss: Expected loss at the optimum.
        params_exponent: Local slope of log params against log compute.
        loss_exponent: Local decay of log loss against log compute.
        asymptotic: Closed-form exponents of the phase, reached as compute grows.
    """

    compute: FloatArray
    params: FloatArray
    steps: FloatArray
    loss: FloatArray
    params_exponent: FloatArray
    loss_exponent: FloatArray
    asymptotic: Exponents


@dataclass(frozen=True)
class _Model:
    a: float
    b: float
    rates: Rates
    batch: int
    dim_factor: float

    def curve(self, params: int, steps: FloatArray, atoms: int) -> FloatArray:
        """Expected loss at these steps for one parameter count."""
        dim = max(round(self.dim_factor * params), params + 1)
        modes = equivalent_modes(self.a, self.b, params=params, dim=dim, atoms_per_decade=atoms)
        if self.rates is None:
            rate = np.asarray(largest_stable_rate(modes, self.batch) / 2)
        else:
            rate = check_rates(self.rates(params) if callable(self.rates) else self.rates)
            require_stable(modes, rate, self.batch)
        return integrate(modes, steps, float(rate), batch=self.batch)


def _surface(model: _Model, params: FloatArray, low: float, high: float, atoms: int) -> RectBivariateSpline:
    """Log loss over (log params, log steps), with steps from `low` to `high`."""
    points = int(np.ceil(np.log10(high / low) * _STEP_POINTS_PER_DECADE)) + 4
    # Half-integer ends keep every step on the spline branch of the integrator, hence smooth in steps.
    steps = np.geomspace(max(low, 0.5), high, points)
    table = np.array([model.curve(int(count), steps, atoms) for count in params])
    return RectBivariateSpline(np.log(params), np.log(steps), np.log(table))


def _minimum(surface: RectBivariateSpline, low: float, high: float, log_work: FloatArray) -> FloatArray:
    """Log params of least loss along log params + log steps = log work; NaN where it sits on an edge."""
    grid = np.linspace(low, high, 600)
    values = surface.ev(grid[None, :], log_work[:, None] - grid[None, :])
    best = np.argmin(values, axis=1)
    inside = (best > 0) & (best < len(grid) - 1)
    k = np.clip(best, 1, len(grid) - 2)
    rows = np.arange(len(k))
    before, here, after = (values[rows, k + shift] for shift in (-1, 0, 1))
    shift = (before - after) / (2 * (before - 2 * here + after))
    return np.where(inside, grid[k] + shift * (grid[1] - grid[0]), np.nan)


def _params_grid(low: float, high: float, ratio: float) -> FloatArray:
    count = max(5, int(np.ceil(np.log(high / low) / np.log(ratio))) + 1)
    return np.unique(np.rint(np.geomspace(low, high, count)))


def _search(model: _Model, work: FloatArray) -> tuple[FloatArray, RectBivariateSpline]:
    """Optimal log params at each params × steps product, by a coarse scan and a fine surface around it."""
    log_work = np.log(work)
    largest = min(LARGEST_PARAMS, float(work[-1]))
    if largest < 10 * _SMALLEST_PARAMS:
        raise ConfigError(
            f"compute {work[-1]:g} is too small for a frontier; start near 1e4", compute=work[-1]
        )
    low, high = float(_SMALLEST_PARAMS), largest
    for ratio, atoms in ((_COARSE_RATIO, 12), (_FINE_RATIO, _ATOMS_PER_DECADE)):
        params = _params_grid(low, high, ratio)
        surface = _surface(model, params, max(work[0] / high, 0.5), work[-1] / low, atoms)
        best = _minimum(surface, np.log(params[0]), np.log(params[-1]), log_work)
        if np.isnan(best).any():
            lost = float(work[np.isnan(best)][0])
            raise ConfigError(
                f"at params * steps = {lost:g} the optimum lies outside params {low:g} to {high:g}; "
                "choose compute budgets whose optimum has between 10 and 1e9 parameters",
                compute=lost,
            )
        low = max(float(_SMALLEST_PARAMS), float(np.exp(best.min())) / 4)
        high = min(largest, float(np.exp(best.max())) * 4)
    return best, surface


def frontier(
    a: float,
    b: float,
    *,
    compute: ArrayLike,
    learning_rate: Rates = None,
    batch: int = 1,
    dim_factor: float = DIM_FACTOR,
    window: float = 1.0,
) -> Frontier:
    """Compute-optimal frontier of the expected loss, with compute f = params · steps · batch.

    At sizes that can be trained the closed-form exponents are not yet reached in every phase; this is the
    truth that benchmarks should compare with.

    Args:
        a: Spectrum exponent.
        b: Target exponent.
        compute: Budgets, rising and above zero; shape (budgets,).
        learning_rate: A constant, a function of the parameter count, or None for half the largest stable one.
        batch: Samples summed per step.
        dim_factor: Ambient dimension per parameter.
        window: Decades of compute over which the local exponents are regressed.

    Returns:
        Optimal params, steps and loss with local exponents at each budget.

    Raises:
        ConfigError: if a value is not accepted, the learning rate is unstable, or an optimum lies outside 8
            to 1e9 parameters.

    Cost: 2 to 14 s on one core.
    """
    a, b = check_exponents(a, b)
    check_training(batch, 0.0)
    budgets = np.atleast_1d(numbers_of(compute, "compute"))
    if (
        budgets.ndim != 1
        or not len(budgets)
        or not (np.isfinite(budgets).all() and (budgets > 0).all() and (np.diff(budgets) > 0).all())
    ):
        raise ConfigError(f"compute must be finite, positive and rising; got {compute!r}", compute=compute)
    if not (np.isfinite(dim_factor) and dim_factor > 1 and np.isfinite(window) and window > 0):
        raise ConfigError(
            f"dim_factor must exceed 1 and window must be positive; got {dim_factor!r} and {window!r}",
            dim_factor=dim_factor,
            window=window,
        )
    offsets = np.linspace(-window / 2, window / 2, 9) * np.log(10)
    lattice = np.exp(np.log(budgets / batch)[:, None] + offsets)
    work, position = np.unique(lattice, return_inverse=True)
    best, surface = _search(_Model(a, b, learning_rate, batch, dim_factor), work)
    losses = surface.ev(best, np.log(work) - best)[position].reshape(lattice.shape)
    sizes = best[position].reshape(lattice.shape)
    centred = offsets / (offsets @ offsets)
    middle = len(offsets) // 2
    params = np.exp(sizes[:, middle])
    return Frontier(
        budgets,
        params,
        budgets / (params * batch),
        np.exp(losses[:, middle]),
        sizes @ centred,
        -losses @ centred,
        exponents(a, b),
    )
