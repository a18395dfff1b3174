"""Power-law spectra of the solvable model: validated exponents, mode sums, and the modes SGD sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError

FloatArray = NDArray[np.float64]

DIM_FACTOR = 4
LARGEST_PARAMS = 1e9

EXACT_MODES = 300
"""Terms of a sum over modes that stand for themselves."""

BIN_RATIO = 1.01
"""Width of the bins of the others."""


@dataclass(frozen=True, eq=False)
class Modes:
    """What one-pass SGD sees of the model: eigenvalues, how many modes share them, and the error along each.

    Attributes:
        eigenvalues: λ of the kernel K = D^½ W Wᵀ D^½; shape (modes,).
        counts: Number of eigenvalues at each λ; one each for a sampled W, real numbers for a density.
        error: Initial squared error along each λ (summed over its modes).
        null: Squared error outside the range of K, which no training removes.
    """

    eigenvalues: FloatArray
    counts: FloatArray
    error: FloatArray
    null: float

    @property
    def trace(self) -> float:
        """Sum of all eigenvalues."""
        return float(self.counts @ self.eigenvalues)


def check_exponents(a: float, b: float) -> tuple[float, float]:
    """Return (a, b) as floats when they define a power law.

    Raises:
        ConfigError: if either exponent is not a finite positive number, or if 2(a + b) ≤ 1.
    """
    for name, value in (("a", a), ("b", b)):
        if not (isinstance(value, (int, float, np.number)) and math.isfinite(value) and value > 0):
            raise ConfigError(
                f"exponent {name} must be a finite number above 0; got {value!r}. "
                "a is the decay of the feature spectrum, b that of the target",
                exponent=name,
                value=value,
            )
    if 2 * (a + b) <= 1:
        raise ConfigError(
            f"the loss has no power law at a={a:g}, b={b:g}: 2(a + b) must exceed 1; increase a or b",
            a=a,
            b=b,
        )
    return float(a), float(b)


def check_sizes(params: float, dim: float | None) -> tuple[int, int]:
    """Return (params, dim) as integers; `dim` defaults to four times `params`.

    Raises:
        ConfigError: if params is not a whole number from 1 to 1e9, or dim does not exceed params.
    """
    if not (_whole(params) and 1 <= params <= LARGEST_PARAMS):
        raise ConfigError(f"params must be a whole number from 1 to 1e9; got {params!r}", params=params)
    if dim is None:
        return int(params), DIM_FACTOR * int(params)
    if not (_whole(dim) and dim > params):
        raise ConfigError(
            f"dim must be a whole number above params={params:g} (4 to 10 times is usual); got {dim!r}",
            dim=dim,
            params=params,
        )
    return int(params), int(dim)


def _whole(value: object) -> bool:
    return isinstance(value, Real) and float(value).is_integer()


def numbers_of(value: ArrayLike, name: str) -> FloatArray:
    """Numbers that a user gives, as a float array.

    Raises:
        ConfigError: for what is none.
    """
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} must be numbers; got {value!r}", **{name: value}) from error


def check_training(batch: float, label_noise: float) -> None:
    """Accept a batch of at least one sample and a non-negative noise level.

    Raises:
        ConfigError: otherwise.
    """
    if not (_whole(batch) and batch >= 1):
        raise ConfigError(f"batch must be a whole number of samples, at least 1; got {batch!r}", batch=batch)
    if not (isinstance(label_noise, Real) and math.isfinite(label_noise) and label_noise >= 0):
        raise ConfigError(
            f"label_noise is a standard deviation: finite and not negative; got {label_noise!r}",
            label_noise=label_noise,
        )


def mode_bins(dim: int) -> tuple[FloatArray, FloatArray]:
    """Representative indices and counts that replace a sum over j = 1..dim.

    Indices up to `EXACT_MODES` stand for themselves, later ones share geometric bins of width `BIN_RATIO`;
    the relative error of a power-law sum is about 1e-5.
    """
    if dim <= EXACT_MODES:
        indices = np.arange(1.0, dim + 1)
        return indices, np.ones_like(indices)
    n_bins = max(2, math.ceil(math.log(dim / EXACT_MODES) / math.log(BIN_RATIO)) + 1)
    edges = np.unique(np.floor(np.geomspace(EXACT_MODES, dim, n_bins)))
    edges[0], edges[-1] = EXACT_MODES, dim
    first, last = edges[:-1] + 1, edges[1:]
    indices = np.concatenate([np.arange(1.0, EXACT_MODES + 1), (first + last) / 2])
    return indices, np.concatenate([np.ones(EXACT_MODES), last - first + 1])
