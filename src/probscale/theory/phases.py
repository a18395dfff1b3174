"""The 4+3 phases of the solvable model: regions, exponents, and the asymptotic terms that meet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma

from probscale.errors import ConfigError
from probscale.theory.equivalent import equivalent_modes
from probscale.theory.spectrum import FloatArray, check_exponents, check_sizes, check_training, mode_bins

PHASES = ("Ia", "Ib", "Ic", "II", "III", "IVa", "IVb")
EXAMPLE_POINTS = {
    "Ia": (0.75, 0.25),
    "Ib": (0.4, 0.4),
    "Ic": (0.15, 0.8),
    "II": (1.0, 0.7),
    "III": (1.0, 1.5),
    "IVa": (0.4, 1.0),
    "IVb": (0.27, 0.9),
}
TERMS = ("target", "alignment", "capacity", "noise")
A_NOISE = 0.25
A_TRACE = 0.5
A_SPLIT = 1 - 1 / math.sqrt(2)


@dataclass(frozen=True)
class Exponents:
    """Compute-optimal exponents: params* ~ flops^params, loss* ~ flops^-loss.

    Attributes:
        params: ξ, growth of the optimal parameter count with compute.
        loss: η, decay of the optimal loss with compute.
        phase: Phase they belong to.
        terms: The two terms of the loss that balance at the optimum.
    """

    params: float
    loss: float
    phase: str
    terms: tuple[str, str]

    def __repr__(self) -> str:
        values = f"params {self.params:.4g}, loss {self.loss:.4g}"
        return f"Exponents({values}, phase {self.phase}, terms {self.terms})"


@dataclass(frozen=True)
class Boundary:
    """A straight line between two phases, from (a, b) to (a, b); an infinite end means a ray."""

    between: tuple[str, str]
    start: tuple[float, float]
    end: tuple[float, float]


def _classify(a: FloatArray, b: FloatArray) -> NDArray[np.str_]:
    """Phase of every valid (a, b); a tie goes to the phase listed first, and "none" marks 2(a + b) ≤ 1."""
    low_target = b <= 0.5
    conditions = [
        ~((a > 0) & (b > 0) & (2 * (a + b) > 1)),
        low_target & (a >= A_TRACE),
        low_target,
        a <= A_NOISE,
        (a >= A_TRACE) & (b <= a),
        a >= A_TRACE,
        a >= A_SPLIT,
    ]
    return np.select(conditions, ["none", *PHASES[:6]], default="IVb")


@overload
def phase(a: float, b: float) -> str: ...
@overload
def phase(a: ArrayLike, b: ArrayLike) -> str | NDArray[np.str_]: ...
def phase(a: ArrayLike, b: ArrayLike) -> str | NDArray[np.str_]:
    """Phase of the model, from "Ia" to "IVb".

    A point on a boundary belongs to the phase listed first in `PHASES`; `adjacent_phases` names all that
    meet there. The loss exponent is the same on both sides of every boundary.

    Args:
        a: Spectrum exponent; a number or an array.
        b: Target exponent; a number or an array.

    Returns:
        The phase; an array of phases for arrays, where "none" marks points without a power law (2(a + b) ≤
        1).

    Raises:
        ConfigError: for single numbers that are not positive and finite, or have 2(a + b) ≤ 1.

    Example:
        >>> phase(0.75, 0.25), phase(1.0, 1.5)
        ('Ia', 'III')
    """
    if np.ndim(a) == 0 and np.ndim(b) == 0:
        a, b = check_exponents(a, b)  # pyright: ignore[reportArgumentType]
        return str(_classify(np.array(a), np.array(b)))
    return _classify(*np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float)))


def adjacent_phases(a: float, b: float, *, tolerance: float = 1e-9) -> tuple[str, ...]:
    """Phases that meet within `tolerance` of (a, b): one inside a phase, several on a boundary.

    Raises:
        ConfigError: if (a, b) defines no power law.
    """
    a, b = check_exponents(a, b)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False) + 0.01
    around = _classify(a + 2 * tolerance * np.cos(angles), b + 2 * tolerance * np.sin(angles))
    found = {phase(a, b), *around.tolist()}
    return tuple(name for name in PHASES if name in found)


def _closed_form(name: str, a: float, b: float) -> tuple[float, float, tuple[str, str]]:
    """(ξ, η, balancing terms) of the named phase."""
    both = 2 * a + 2 * b - 1
    ic, ivb = 3 * a + 2 * b - 1 - 2 * a * b, 2 * b - a - 2 * a * b
    match name:
        case "Ia":
            form = 1 / (2 * a + 1), both / (2 * a + 1), ("target", "capacity")
        case "Ib":
            form = 0.5, both / 2, ("target", "capacity")
        case "Ic":
            form = both / (2 * ic), a * both / ic, ("target", "capacity")
        case "II":
            form = b / (a + b), both / (2 * (a + b)), ("target", "alignment")
        case "III":
            form = 0.5, 1 - 1 / (4 * a), ("noise", "alignment")
        case "IVa":
            form = 0.5, a, ("noise", "capacity")
        case _:
            form = (b - a) / ivb, (1 - 2 * a) * both / (2 * ivb), ("target", "noise")
    return form


def exponents(a: float, b: float) -> Exponents:
    """Compute-optimal exponents in closed form.

    Args:
        a: Spectrum exponent.
        b: Target exponent.

    Returns:
        `.params` (ξ) and `.loss` (η), with the phase and the terms that balance.

    Raises:
        ConfigError: if (a, b) defines no power law, or is not one pair of numbers; `exponents_by_programme`
            takes arrays.

    Source: Paquette et al. 2024 (arXiv 2405.15074), table 1, with η per unit of compute.

    Example:
        >>> round(exponents(0.75, 0.25).loss, 3)
        0.4
    """
    a, b = check_exponents(a, b)
    name = phase(a, b)
    params, loss, terms = _closed_form(name, a, b)
    return Exponents(params, loss, name, terms)


def term_powers(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Powers (p, q) of each term params^p · steps^q under the largest stable learning rate.

    Returns:
        Shape (..., 4, 2), terms in the order of `TERMS`; (−inf, 0) where a term is absent or dominated.
    """
    a, b = np.broadcast_arrays(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    # The stable learning rate falls as params^(2a − 1) when the trace diverges.
    rate = np.minimum(2 * a - 1, 0.0)
    target = -(2 * a + 2 * b - 1) / (2 * a)
    alignment = -1 + 1 / (2 * a)
    noise = -2 + 1 / (2 * a)
    capacity = -2 * a + np.maximum(0.0, 1 - 2 * b)
    aligned = (2 * a > 1) & (2 * b > 1)
    zero = np.zeros_like(a)
    rows = [
        (rate * target, target),
        (np.where(aligned, -1 + rate * alignment, -np.inf), np.where(aligned, alignment, zero)),
        (capacity, zero),
        (np.where(a > A_NOISE, rate * (1 + noise), -np.inf), np.where(a > A_NOISE, noise, zero)),
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def exponents_by_programme(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """(ξ, η) from the linear programme min over ξ of max over terms of p ξ + q (1 − ξ).

    An independent route to `exponents`: it knows the terms but not the phases. Where the minimiser is not
    unique (the boundary between IVa and IVb) the smallest ξ is returned.

    Args:
        a: Spectrum exponents; any shape.
        b: Target exponents; any shape.

    Returns:
        ξ and η, each of the broadcast shape.
    """
    powers = term_powers(a, b)
    p, q = powers[..., 0], powers[..., 1]
    left, right = np.triu_indices(len(TERMS), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = p - q
        meets = (q[..., right] - q[..., left]) / (slope[..., left] - slope[..., right])
    ends = np.broadcast_to([0.0, 1.0], (*meets.shape[:-1], 2))
    candidates = np.concatenate([meets, ends], axis=-1)
    candidates = np.sort(np.where((candidates >= 0) & (candidates <= 1), candidates, 0.0), axis=-1)
    finite = np.isfinite(p)[..., None, :]
    lines = np.where(finite, np.where(np.isfinite(p), p, 0.0)[..., None, :] * candidates[..., None], -np.inf)
    heights = (lines + q[..., None, :] * (1 - candidates[..., None])).max(axis=-1)
    best = np.argmin(heights, axis=-1)[..., None]
    return (
        np.take_along_axis(candidates, best, axis=-1)[..., 0],
        -np.take_along_axis(heights, best, axis=-1)[..., 0],
    )


@dataclass(frozen=True, eq=False)
class AsymptoticTerms:
    """Leading terms of the loss; arrays over steps, except `capacity`.

    Attributes:
        target: F_pp, the error of features not yet learned.
        alignment: F_ac, the error from imperfect alignment of random features.
        capacity: F₀, what this many parameters cannot represent.
        noise: K_pp/(gB), excess loss from gradient noise.
    """

    target: FloatArray
    alignment: FloatArray
    capacity: float
    noise: FloatArray

    @property
    def total(self) -> FloatArray:
        """Sum of the four terms; the loss up to a bounded factor."""
        return self.target + self.alignment + self.capacity + self.noise


def asymptotic_terms(
    a: float,
    b: float,
    *,
    params: int,
    steps: ArrayLike,
    learning_rate: float,
    batch: int = 1,
    dim: int | None = None,
) -> AsymptoticTerms:
    """Leading terms of the loss for large steps and params, with their constants.

    Args:
        a: Spectrum exponent.
        b: Target exponent.
        params: Number of parameters d.
        steps: Steps, above zero.
        learning_rate: Constant learning rate.
        batch: Samples summed per step.
        dim: Ambient dimension v; four times `params` by default.

    Returns:
        The four terms. `capacity` is the exact F₀ of the deterministic equivalent, the others are
        asymptotic. The noise term is absent for a ≤ 1/4, the alignment term unless 2a > 1 and 2b > 1.

    Raises:
        ConfigError: if a value is not accepted.
    """
    a, b = check_exponents(a, b)
    check_training(batch, 0.0)
    params, dim = check_sizes(params, dim)
    time = 2 * learning_rate * batch * np.asarray(steps, dtype=float)
    if not (np.all(time > 0) and np.all(np.isfinite(time))):
        raise ConfigError("asymptotic terms need steps and a learning rate above zero", steps=steps)
    half = 1 / (2 * a)
    target = gamma(b / a - half + 1) * half * time ** (half - 1 - b / a)
    alignment, noise = np.zeros_like(time), np.zeros_like(time)
    if 2 * a > 1 and 2 * b > 1:
        indices, counts = mode_bins(dim)
        alignment = float(counts @ indices ** (-2 * b)) / params * gamma(1 - half) * half * time ** (half - 1)
    if a > A_NOISE:
        noise = learning_rate * gamma(2 - half) * half * time ** (half - 2)
    return AsymptoticTerms(target, alignment, equivalent_modes(a, b, params=params, dim=dim).null, noise)


def boundaries() -> tuple[Boundary, ...]:
    """Straight lines that separate the phases in the (a, b) plane; rays end at infinity."""
    far = math.inf
    return (
        Boundary(("none", "Ib"), (0.0, 0.5), (0.5, 0.0)),
        Boundary(("Ia", "Ib"), (0.5, 0.0), (0.5, 0.5)),
        Boundary(("Ib", "Ic"), (0.0, 0.5), (A_NOISE, 0.5)),
        Boundary(("Ib", "IVb"), (A_NOISE, 0.5), (A_SPLIT, 0.5)),
        Boundary(("Ib", "IVa"), (A_SPLIT, 0.5), (0.5, 0.5)),
        Boundary(("Ia", "II"), (0.5, 0.5), (far, 0.5)),
        Boundary(("Ic", "IVb"), (A_NOISE, 0.5), (A_NOISE, far)),
        Boundary(("IVa", "IVb"), (A_SPLIT, 0.5), (A_SPLIT, far)),
        Boundary(("III", "IVa"), (0.5, 0.5), (0.5, far)),
        Boundary(("II", "III"), (0.5, 0.5), (far, far)),
    )
