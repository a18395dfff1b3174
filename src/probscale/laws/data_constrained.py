"""The data-constrained law: a Chinchilla law of effective parameters and effective tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from probscale.errors import LawError
from probscale.laws.arithmetic import exp, log, minimum
from probscale.laws.chinchilla import EXPONENTS
from probscale.laws.inputs import read_array
from probscale.laws.law import Law, Optimum, Parameter

__all__ = ["DataConstrained"]

Array = NDArray[np.float64]


class DataConstrained(Law):
    """L = E + A/N'^alpha + B/D'^beta with N', D' = U + U·R*(1 − e^(−R/R*)).

    R = size/U − 1 counts repeats. U_D is `unique_tokens`; U_N = min(N, N_opt) with N_opt the
    compute-optimal size for U_D tokens.

    Source: Muennighoff et al. 2023, eqs. 5-7 and appendix A.
    """

    name = "data_constrained"
    inputs = ("params", "tokens", "unique_tokens")
    source = "Muennighoff et al. 2023, arXiv 2305.16264"
    effects = {"params": ("A", "alpha"), "tokens": ("B", "beta")}  # noqa: RUF012
    parameters = (
        Parameter("E", "irreducible loss, nats per token"),
        Parameter("A", "size coefficient"),
        Parameter("B", "data coefficient"),
        Parameter("alpha", "size exponent"),
        Parameter("beta", "data exponent"),
        Parameter("R_D", "repeats of the data after which 1/e of their value is left"),
        Parameter("R_N", "repeats of excess parameters after which 1/e of their value is left"),
    )

    def prepare(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Checked inputs; unique tokens cannot exceed tokens."""
        inputs = super().prepare(raw)
        excess = inputs["unique_tokens"] > inputs["tokens"] * (1 + 1e-9)
        if excess.any():
            at = int(np.flatnonzero(excess.ravel())[0])
            raise LawError(
                f"unique_tokens is {inputs['unique_tokens'].ravel()[at]:g} at position {at}, more than the "
                f"{inputs['tokens'].ravel()[at]:g} tokens seen; pass min(unique, tokens)",
                input="unique_tokens",
                position=at,
            )
        return inputs

    def _parts(self, values: Mapping[str, Any], params: Any, tokens: Any, unique: Any) -> tuple[Any, ...]:
        a, b = values["alpha"], values["beta"]
        log_balance = (log(a * values["A"]) - log(b * values["B"])) / (a + b)
        best = exp(log_balance * (1 + b / a)) * unique ** (b / a)
        base = minimum(best, params)
        size, size_slope = _effective(base, params, values["R_N"])
        data, _ = _effective(unique, tokens, values["R_D"])
        return size, data, base, size_slope, best, log_balance

    def formula(
        self, values: Mapping[str, Any], *, params: Any, tokens: Any, unique_tokens: Any, **_: Any
    ) -> Any:
        """Chinchilla law of the effective sizes."""
        size, data, *_unused = self._parts(values, params, tokens, unique_tokens)
        return (
            values["E"] + values["A"] * size ** (-values["alpha"]) + values["B"] * data ** (-values["beta"])
        )

    def gradient(
        self, values: Mapping[str, Any], *, params: Any, tokens: Any, unique_tokens: Any, **_: Any
    ) -> dict[str, Any]:
        """Derivatives; A, B, alpha and beta also move N_opt where it binds."""
        a, b, A, B = values["alpha"], values["beta"], values["A"], values["B"]
        size, data, base, size_slope, best, log_balance = self._parts(values, params, tokens, unique_tokens)
        by_size, by_data = size ** (-a), data ** (-b)
        through_base = -a * A * by_size / size * size_slope * best * (best < params)
        both = 1 + b / a
        span = log_balance + log(unique_tokens)
        return {
            "E": by_size * 0 + 1.0,
            "A": by_size + through_base * both / (A * (a + b)),
            "B": by_data - through_base * both / (B * (a + b)),
            "alpha": -A * by_size * log(size)
            + through_base * (both * (1 / a - log_balance) / (a + b) - b / a**2 * span),
            "beta": -B * by_data * log(data)
            + through_base * (both * (-1 / b - log_balance) / (a + b) + span / a),
            "R_D": -b * B * by_data / data * _by_reach(unique_tokens, tokens, values["R_D"]),
            "R_N": -a * A * by_size / size * _by_reach(base, params, values["R_N"]),
        }

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Chinchilla columns, for starts: every parameter counts, repeats of data discount."""
        data, _ = _effective(inputs["unique_tokens"], inputs["tokens"], values["R_D"])
        return {
            "E": np.ones_like(data),
            "A": inputs["params"] ** -values["alpha"],
            "B": data ** -values["beta"],
        }

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Chinchilla exponents; R* around the published 15.4 and 5.3."""
        return {"alpha": EXPONENTS[1:6], "beta": EXPONENTS[1:6], "R_D": (5.0, 15.0, 45.0), "R_N": (5.0,)}

    def scale(self, inputs: Mapping[str, Array]) -> Array:
        """Training compute per 6 FLOPs."""
        return inputs["params"] * inputs["tokens"]

    def optimum(self, values: Mapping[str, float], compute: Array, **extra: Any) -> Optimum:
        """Numerical, under C = 6ND with `unique_tokens` available; fewer tokens than that are all unique."""
        self.check_values(values)
        if extra.get("unique_tokens") is None:
            raise LawError("the optimum of law 'data_constrained' depends on the data; pass unique_tokens=")
        unique = float(read_array("unique_tokens", extra["unique_tokens"]))

        def loss(log_params: float, pairs: float) -> float:
            params = np.exp(log_params)
            tokens = pairs / params
            return float(
                self.formula(values, params=params, tokens=tokens, unique_tokens=min(unique, tokens))
            )

        best = []
        for pairs in np.ravel(compute) / 6:
            middle = np.log(pairs) / 2
            grid = np.linspace(middle - 10, middle + 10, 201)
            start = int(np.argmin([loss(point, pairs) for point in grid]))
            ends = grid[max(start - 1, 0)], grid[min(start + 1, 200)]
            best.append(
                minimize_scalar(loss, bounds=ends, args=(pairs,), method="bounded", options={"xatol": 1e-9}).x
            )
        params = np.exp(np.reshape(best, np.shape(compute)))
        tokens = compute / 6 / params
        seen = np.minimum(unique, tokens)
        return Optimum(
            compute, params, tokens, self.formula(values, params=params, tokens=tokens, unique_tokens=seen)
        )


def _effective(base: Any, total: Any, reach: Any) -> tuple[Any, Any]:
    """Effective size U + U·R*(1 − e^(−R/R*)), R = total/U − 1, and its derivative by U."""
    repeats = total / base - 1
    left = exp(-repeats / reach)
    return base + base * reach * (1 - left), 1 + reach * (1 - left) - (repeats + 1) * left


def _by_reach(base: Any, total: Any, reach: Any) -> Any:
    """Derivative of the effective size by R*."""
    share = (total / base - 1) / reach
    left = exp(-share)
    return base * (1 - left - share * left)
