"""The pass@k power law: average success over repeated attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from probscale.errors import LawError
from probscale.laws.arithmetic import exp, log
from probscale.laws.inputs import read_array
from probscale.laws.law import Law, Parameter

__all__ = ["PassAtK", "pass_at_k"]

Array = NDArray[np.float64]


class PassAtK(Law):
    """−log(pass@k) = a · k^−b, fitted on the logarithm of both sides.

    Source: Schaeffer et al. 2025, eq. 1.
    """

    name = "pass_at_k"
    inputs = ("attempts",)
    output = "pass_rate"
    source = "Schaeffer et al. 2025, arXiv 2502.17578"
    effects = {"attempts": ("b",)}  # noqa: RUF012
    parameters = (
        Parameter("a", "minus the log success of one attempt"),
        Parameter("b", "exponent of the number of attempts"),
    )

    def formula(self, values: Mapping[str, Any], *, attempts: Any, **_: Any) -> Any:
        """Success rate."""
        return exp(-values["a"] * attempts ** (-values["b"]))

    def gradient(self, values: Mapping[str, Any], *, attempts: Any, **_: Any) -> dict[str, Any]:
        """Derivatives by a and b."""
        power = attempts ** (-values["b"])
        rate = exp(-values["a"] * power)
        return {"a": -rate * power, "b": rate * values["a"] * power * log(attempts)}

    def link(self, output: Any) -> Any:
        """log(−log(rate)), in which the law is a straight line."""
        return np.log(-np.log(output))

    def link_slope(self, output: Any) -> Any:
        """Derivative of `link`."""
        return 1 / (output * np.log(output))

    def unlink(self, linked: Any) -> Any:
        """Inverse of `link`."""
        return np.exp(-np.exp(linked))

    def check_output(self, output: Array) -> None:
        """Rates of one have no logarithm of their logarithm."""
        full = output >= 1
        if full.any():
            at = int(np.argmax(full))
            raise LawError(
                f"pass_rate must lie inside (0, 1); found {output[at]:g} at position {at}; drop "
                f"saturated rows",
                input="pass_rate",
                position=at,
            )

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """The exponent; `project` solves the rest."""
        return {"b": (0.05, 0.1, 0.2, 0.4, 0.8, 1.2)}

    def project(
        self,
        values: Mapping[str, float],
        inputs: Mapping[str, Array],
        output: Array,
        fixed: Mapping[str, float],
    ) -> dict[str, float]:
        """Median intercept at a given exponent."""
        intercept = np.median(self.link(output) + values["b"] * np.log(inputs["attempts"]))
        return {**values, "a": float(np.exp(intercept)), **fixed}


def pass_at_k(correct: ArrayLike, attempts: int, k: ArrayLike) -> Array:
    """Unbiased pass@k, 1 − C(n − c, k)/C(n, k), averaged over problems.

    Args:
        correct: Successes of each problem among `attempts`.
        attempts: Attempts per problem, n.
        k: Numbers of attempts to score, each at most n.

    Raises:
        LawError: if a count lies outside [0, attempts], or k outside [1, attempts].

    Source: Chen et al. 2021, eq. 1.
    """
    solved = read_array("correct", correct, positive=False)
    draws = read_array("k", k)
    if (solved < 0).any() or (solved > attempts).any() or (draws > attempts).any():
        raise LawError(
            f"correct must lie in [0, {attempts}] and k in [1, {attempts}]; got correct up to "
            f"{solved.max():g} and k "
            f"up to {draws.max():g}; pass counts out of attempts={attempts}"
        )
    failed = attempts - solved.reshape(-1, 1)
    room = np.maximum(failed - draws.reshape(1, -1), 0)
    chance = gammaln(failed + 1) - gammaln(room + 1) + gammaln(attempts - draws + 1) - gammaln(attempts + 1)
    missed = np.where(failed >= draws, np.exp(chance), 0.0)
    return (1 - missed).mean(axis=0).reshape(draws.shape)
