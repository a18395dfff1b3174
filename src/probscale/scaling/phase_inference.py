"""Which phase of the solvable model a fitted law belongs to, with the uncertainty of the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ShapeError
from probscale.theory.phases import PHASES, exponents, phase

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PhasePosterior:
    """Posterior over the phases of the solvable model.

    Attributes:
        a: Samples of the spectrum exponent.
        b: Samples of the target exponent.
        phases: Phase of each sample; "none" where the sample has no power law.
        probabilities: Probability of each phase, in the order of `PHASES`, then "none"; they sum to one.
    """

    a: FloatArray
    b: FloatArray
    phases: NDArray[np.str_]
    probabilities: dict[str, float]

    @property
    def most_likely(self) -> str:
        """Phase with the highest probability; "none" only if no sample has a power law."""
        named = {name: self.probabilities[name] for name in PHASES}
        best = max(named, key=lambda name: named[name])
        return best if named[best] > 0 else "none"

    @property
    def standard_error(self) -> dict[str, float]:
        """Monte Carlo error of each probability, treating samples as independent."""
        return {name: float(np.sqrt(p * (1 - p) / self.a.size)) for name, p in self.probabilities.items()}

    def frontier_exponents(self) -> tuple[FloatArray, FloatArray]:
        """(ξ, η) of every sample that has a power law: params* ~ flops^ξ, loss* ~ flops^−η."""
        valid = self.phases != "none"
        found = [exponents(a, b) for a, b in zip(self.a[valid].tolist(), self.b[valid].tolist(), strict=True)]
        return np.array([each.params for each in found]), np.array([each.loss for each in found])

    def __str__(self) -> str:
        shown = [f"{name} {100 * p:.1f} %" for name, p in self.probabilities.items() if p > 0]
        return f"phase: {', '.join(shown)} ({self.a.size} samples)"


def _samples(**named: ArrayLike) -> list[FloatArray]:
    """Flat arrays of one length.

    Raises:
        ShapeError: if they differ in length, are empty, or hold a value that is not finite.
    """
    arrays = {name: np.atleast_1d(np.asarray(value, dtype=float)) for name, value in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) != 1 or any(array.ndim != 1 or array.size == 0 for array in arrays.values()):
        raise ShapeError(
            f"samples must be non-empty vectors of one length; got shapes {shapes}", shapes=shapes
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            bad = int(np.argmin(np.isfinite(array)))
            raise ShapeError(
                f"sample {bad} of {name} is {array[bad]}; drop samples that are not finite", sample=bad
            )
    return list(arrays.values())


def phase_posterior(a: ArrayLike, b: ArrayLike) -> PhasePosterior:
    """Probability of each phase, from posterior samples of the model's exponents.

    Args:
        a: Samples of the spectrum exponent; shape (samples,).
        b: Samples of the target exponent; shape (samples,).

    Returns:
        Probabilities and the classified samples. Samples outside the model, with a ≤ 0, b ≤ 0 or 2(a + b) ≤
        1, count as "none".

    Raises:
        ShapeError: if the samples differ in length or are not finite.

    Example:
        >>> phase_posterior([0.7, 0.8, 1.2], [0.3, 0.4, 0.9]).probabilities["Ia"] > 0.6
        True
    """
    spectrum, target = _samples(a=a, b=b)
    phases = np.asarray(phase(spectrum, target))
    shares = {name: float(np.mean(phases == name)) for name in (*PHASES, "none")}
    return PhasePosterior(spectrum, target, phases, shares)


def phase_from_law(params_exponent: ArrayLike, steps_exponent: ArrayLike) -> PhasePosterior:
    """Probability of each phase, from samples of a law L = E + A/N^params_exponent + B/D^steps_exponent.

    In phase Ia, the only phase whose loss is a sum of a power of params and a power of steps with free
    exponents, the law inverts to 2a = params_exponent/steps_exponent and 2b = params_exponent + 1 − 2a.
    Probability outside Ia means the fitted law cannot come from phase Ia, not that another phase is
    established: `phase_posterior` on samples of (a, b) from a fit of the full loss decides that.

    Args:
        params_exponent: Samples of the exponent of params; shape (samples,).
        steps_exponent: Samples of the exponent of steps or tokens; shape (samples,).

    Returns:
        Posterior over phases, with the implied (a, b).

    Raises:
        ShapeError: if the samples differ in length, are not finite, or are not positive.

    Source: Paquette et al. 2024 (arXiv 2405.15074), F_pp and F₀ of section 3.
    """
    by_params, by_steps = _samples(params_exponent=params_exponent, steps_exponent=steps_exponent)
    for name, array in (("params_exponent", by_params), ("steps_exponent", by_steps)):
        if (array <= 0).any():
            raise ShapeError(
                f"samples of {name} must be above 0; the smallest is {array.min():g}", sample=name
            )
    spectrum = by_params / by_steps / 2
    return phase_posterior(spectrum, (by_params + 1) / 2 - spectrum)
