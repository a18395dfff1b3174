"""The Kaplan law, L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from probscale.laws.arithmetic import log
from probscale.laws.law import Law, Optimum, Parameter

__all__ = ["Kaplan"]

Array = NDArray[np.float64]


class Kaplan(Law):
    """L = [(N_c/N)^(alpha_N/alpha_D) + D_c/D]^alpha_D: from model size and data, without a floor.

    Source: Kaplan et al. 2020, eq. 1.5 (N counts parameters without embeddings).
    """

    name = "kaplan"
    inputs = ("params", "tokens")
    source = "Kaplan et al. 2020, arXiv 2001.08361"
    effects = {"params": ("N_c", "alpha_N"), "tokens": ("D_c", "alpha_D")}  # noqa: RUF012
    parameters = (
        Parameter("N_c", "size scale, parameters"),
        Parameter("D_c", "data scale, tokens"),
        Parameter("alpha_N", "size exponent"),
        Parameter("alpha_D", "data exponent"),
    )

    def formula(self, values: Mapping[str, Any], *, params: Any, tokens: Any, **_: Any) -> Any:
        """Source: eq. 1.5."""
        ratio = values["alpha_N"] / values["alpha_D"]
        return ((values["N_c"] / params) ** ratio + values["D_c"] / tokens) ** values["alpha_D"]

    def gradient(self, values: Mapping[str, Any], *, params: Any, tokens: Any, **_: Any) -> dict[str, Any]:
        """Derivatives, with p = (N_c/N)^(alpha_N/alpha_D) and s = p + D_c/D."""
        a, d = values["alpha_N"], values["alpha_D"]
        ratio = a / d
        size = (values["N_c"] / params) ** ratio
        total = size + values["D_c"] / tokens
        outer = d * total ** (d - 1)
        by_ratio = outer * size * log(values["N_c"] / params)
        return {
            "N_c": outer * ratio * size / values["N_c"],
            "D_c": outer / tokens,
            "alpha_N": by_ratio / d,
            "alpha_D": total**d * log(total) - by_ratio * a / d**2,
        }

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Around the published alpha_N .076, alpha_D .095-.103."""
        exponents = (0.03, 0.06, 0.1, 0.2, 0.4)
        return {"alpha_N": exponents, "alpha_D": exponents}

    def project(
        self,
        values: Mapping[str, float],
        inputs: Mapping[str, Array],
        output: Array,
        fixed: Mapping[str, float],
    ) -> dict[str, float]:
        """L^(1/alpha_D) is linear in N_c^ratio and D_c."""
        ratio = values["alpha_N"] / values["alpha_D"]
        target = output ** (1 / values["alpha_D"])
        design = np.stack([inputs["params"] ** -ratio, 1 / inputs["tokens"]], axis=1) / target[:, None]
        if not np.isfinite(design).all():
            return {**values, "N_c": math.nan, "D_c": math.nan}
        scale = design.mean(axis=0)
        found = np.maximum(nnls(design / scale, np.ones_like(target))[0], 1e-3) / scale
        return {**values, "N_c": float(found[0] ** (1 / ratio)), "D_c": float(found[1]), **fixed}

    def optimum(self, values: Mapping[str, float], compute: Array, **extra: Any) -> Optimum:
        """Closed form under C = 6ND, from d log p/d log N = d log(D_c/D)/d log D."""
        self.check_values(values)
        ratio = values["alpha_N"] / values["alpha_D"]
        pairs = compute / 6
        params = (ratio * values["N_c"] ** ratio * pairs / values["D_c"]) ** (1 / (1 + ratio))
        tokens = pairs / params
        return Optimum(compute, params, tokens, self.formula(values, params=params, tokens=tokens))
