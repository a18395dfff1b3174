"""Deterministic equivalent of the random-feature kernel: its spectrum without sampling W.

The resolvent of K at −x is governed by the root m of m + (1/d) Σ s_j m/(s_j m + x) = 1. With κ = x/m both x
and every transform are explicit in κ, so the derivatives needed below come from exact Taylor series rather
than differences.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
from scipy.optimize import nnls, root_scalar

from probscale.errors import NumericalWarning
from probscale.theory import series
from probscale.theory.spectrum import FloatArray, Modes, check_exponents, check_sizes, mode_bins

_ORDER = 4
_SAMPLES_PER_ATOM = 2
_MASS_WEIGHT = 30.0


class _Spectrum:
    """Sums over the modes of the population covariance, for one (a, b, params, dim)."""

    def __init__(self, a: float, b: float, params: int, dim: int) -> None:
        indices, self.counts = mode_bins(dim)
        self.params = params
        self.s = indices ** (-2 * a)
        self.target = indices ** (-2 * a - 2 * b)
        self.trace = float(self.counts @ self.s)
        self.tau = self._root()
        self.null = float(self.counts @ (self.target * self.tau / (self.s + self.tau)))
        self.mass = float(self.counts @ (self.target * self.s / (self.s + self.tau)))
        gaps = self.s[0] - self.s[1:]
        self.largest = float(self.s[0] * (1 + self.counts[1:] @ (self.s[1:] / gaps) / params))

    def _root(self) -> float:
        def surplus(log_tau: float) -> float:
            return float(self.counts @ (self.s / (self.s + np.exp(log_tau)))) / self.params - 1

        low, high = np.log(self.s[-1]) - 40, np.log(self.trace / self.params) + 1e-9
        return float(np.exp(root_scalar(surplus, bracket=(low, high), xtol=1e-14).root))

    def m(self, excess: FloatArray) -> FloatArray:
        """The root m at κ = τ + excess, written so that nothing cancels near τ."""
        kappa = self.tau + excess[:, None]
        return (
            (self.s * excess[:, None] / ((self.s + self.tau) * (self.s + kappa))) @ self.counts / self.params
        )

    def moments(self, excess: FloatArray, weight: FloatArray, order: int) -> FloatArray:
        """Taylor coefficients in κ of Σ weight_j/(s_j + κ)."""
        inverse = 1 / (self.s + self.tau + excess[:, None])
        power = inverse.copy()
        out = np.empty((order + 1, len(excess)))
        for k in range(order + 1):
            out[k] = (-1) ** k * (power @ (self.counts * weight))
            power *= inverse
        return out

    def excess_at(self, x: FloatArray) -> FloatArray:
        """κ − τ at each x, by interpolation and Newton steps on κ m(κ) = x."""
        start = np.geomspace(self.tau * 1e-5, self.s[0] * 100, 600)
        excess = np.exp(np.interp(np.log(x), np.log((self.tau + start) * self.m(start)), np.log(start)))
        for _ in range(4):
            kappa, m = self.tau + excess, self.m(excess)
            slope = m - kappa * self.moments(excess, self.s, 1)[1] / self.params
            excess = np.maximum(excess - (kappa * m - x) / slope, excess / 4)
        return excess

    def transforms(self, x: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
        """Taylor coefficients in x of ∫λ dN/(λ+x) and of ∫dμ_F/(λ+x) without its atom at zero."""
        excess = self.excess_at(x)
        counting = self.moments(excess, self.s, order)
        root = -counting / self.params
        root[0] = self.m(excess)
        kappa = np.zeros_like(root)
        kappa[0], kappa[1] = self.tau + excess, 1.0
        inverse = series.revert(series.multiply(kappa, root))
        # Σ c κ/(s+κ) − F₀, the part of the target that training can remove, divided by x below.
        learnable = -self.moments(excess, self.target * self.s, order)
        learnable[0] = (
            self.target * self.s * excess[:, None] / ((self.s + self.tau) * (self.s + kappa[0][:, None]))
        ) @ self.counts
        position = np.zeros_like(root)
        position[0], position[1] = x, 1.0
        return series.compose(counting, inverse), series.divide(series.compose(learnable, inverse), position)


def _lattice(low: float, high: float, per_decade: float) -> FloatArray:
    """Log-spaced points on a fixed lattice, so that curves vary smoothly with params."""
    first, last = np.floor(np.log10(low) * per_decade), np.ceil(np.log10(high) * per_decade)
    return 10 ** (np.arange(first, last + 1) / per_decade)


def _recover(
    kernel: FloatArray, values: FloatArray, moment: FloatArray, total: float
) -> tuple[FloatArray, float]:
    """Non-negative atoms that reproduce a transform in relative terms, and their total exactly enough."""
    rows = np.vstack([kernel / values[:, None], _MASS_WEIGHT * moment / total])
    wanted = np.append(np.ones(len(values)), _MASS_WEIGHT)
    scale = np.linalg.norm(rows, axis=0)
    weights, _ = nnls(rows / scale, wanted, maxiter=100 * len(scale))
    weights = weights / scale
    return weights, float(np.abs(rows @ weights - wanted)[:-1].max())


@lru_cache(maxsize=512)
def _equivalent(a: float, b: float, params: int, dim: int, per_decade: int) -> tuple[Modes, float]:
    spectrum = _Spectrum(a, b, params, dim)
    samples = _lattice(spectrum.tau * 3e-3, spectrum.largest * 10, per_decade * _SAMPLES_PER_ATOM)
    atoms = _lattice(spectrum.tau * 0.05, spectrum.largest * 1.2, per_decade)
    counting, target = spectrum.transforms(samples, _ORDER)
    # The plain transform is too smooth to invert; its fourth derivative has a kernel one decade wide.
    counts, counting_error = _recover(
        (atoms / (atoms + samples[:, None])) ** (_ORDER + 1) / atoms**_ORDER,
        counting[_ORDER],
        atoms,
        spectrum.trace,
    )
    error, target_error = _recover(
        1 / (atoms + samples[:, None]) ** (_ORDER + 1), target[_ORDER], np.ones_like(atoms), spectrum.mass
    )
    used = (counts > 0) | (error > 0)
    return Modes(atoms[used], counts[used], error[used], spectrum.null), max(counting_error, target_error)


def equivalent_modes(
    a: float, b: float, *, params: int, dim: int | None = None, atoms_per_decade: int = 20
) -> Modes:
    """Spectrum of the model in the large-`params` limit, as atoms on a logarithmic lattice.

    Args:
        a: Spectrum exponent: feature j has standard deviation j^-a.
        b: Target exponent: target coefficient j^-b.
        params: Number of trained parameters d, up to 1e9.
        dim: Ambient dimension v; four times `params` by default, as no infinite limit exists for 2a < 1.
        atoms_per_decade: Resolution of the lattice; 20 gives curves accurate to about 1e-3, 30 to 3e-4.

    Returns:
        Modes whose counts and errors are densities.

    Raises:
        ConfigError: if the exponents or sizes are not accepted.

    Cost: 0.05 to 0.3 s, cached; independent of `params`.

    Source: Paquette et al. 2024 (arXiv 2405.15074), deterministic equivalent of section 2.
    """
    a, b = check_exponents(a, b)
    params, dim = check_sizes(params, dim)
    modes, residual = _equivalent(a, b, params, dim, atoms_per_decade)
    if residual > 1e-2:
        warnings.warn(
            f"the spectrum at a={a:g}, b={b:g}, params={params} was recovered to {100 * residual:.1f} %; "
            "use more atoms_per_decade",
            NumericalWarning,
            stacklevel=2,
        )
    return modes
