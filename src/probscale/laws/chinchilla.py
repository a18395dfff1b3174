"""The Chinchilla law, L = E + A/N^alpha + B/D^beta, and its closed-form compute optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.laws.arithmetic import log
from probscale.laws.law import Law, Optimum, Parameter

__all__ = ["Chinchilla"]

Array = NDArray[np.float64]

EXPONENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


class Chinchilla(Law):
    """L = E + A/N^alpha + B/D^beta: a floor, and a power law of model size and of data.

    Source: Hoffmann et al. 2022, eq. 2.
    """

    name = "chinchilla"
    inputs = ("params", "tokens")
    source = "Hoffmann et al. 2022, arXiv 2203.15556"
    effects = {"params": ("A", "alpha"), "tokens": ("B", "beta")}  # noqa: RUF012
    parameters = (
        Parameter("E", "irreducible loss, nats per token"),
        Parameter("A", "size coefficient"),
        Parameter("B", "data coefficient"),
        Parameter("alpha", "size exponent"),
        Parameter("beta", "data exponent"),
    )

    def formula(self, values: Mapping[str, Any], *, params: Any, tokens: Any, **_: Any) -> Any:
        """E + A/N^alpha + B/D^beta."""
        return (
            values["E"]
            + values["A"] * params ** (-values["alpha"])
            + values["B"] * tokens ** (-values["beta"])
        )

    def gradient(self, values: Mapping[str, Any], *, params: Any, tokens: Any, **_: Any) -> dict[str, Any]:
        """Derivatives by E, A, B, alpha, beta."""
        by_size = params ** (-values["alpha"])
        by_data = tokens ** (-values["beta"])
        return {
            "E": by_size * 0 + 1.0,
            "A": by_size,
            "B": by_data,
            "alpha": -values["A"] * by_size * log(params),
            "beta": -values["B"] * by_data * log(tokens),
        }

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Floor, size and data columns at given exponents."""
        return {
            "E": np.ones_like(inputs["params"]),
            "A": inputs["params"] ** -values["alpha"],
            "B": inputs["tokens"] ** -values["beta"],
        }

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Exponents seen in practice, and somewhat beyond."""
        return {"alpha": EXPONENTS, "beta": EXPONENTS}

    def optimum(self, values: Mapping[str, float], compute: Array, **extra: Any) -> Optimum:
        """Closed form under C = 6ND. Source: Hoffmann et al. 2022, eq. 4."""
        self.check_values(values)
        a, b = values["alpha"], values["beta"]
        balance = (a * values["A"] / (b * values["B"])) ** (1 / (a + b))
        pairs = compute / 6
        params = balance * pairs ** (b / (a + b))
        tokens = pairs ** (a / (a + b)) / balance
        return Optimum(compute, params, tokens, self.formula(values, params=params, tokens=tokens))
