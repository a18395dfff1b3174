"""The multi-power law: loss under any learning-rate schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.laws.arithmetic import log, log1p
from probscale.laws.law import Parameter
from probscale.laws.schedule import ScheduleLaw

__all__ = ["MultiPower"]

Array = NDArray[np.float64]


class MultiPower(ScheduleLaw):
    """L = L0 + A·S₁^-alpha − B Σ_k (η_{k−1} − η_k)[1 − (1 + C η_k^-gamma S_k)^-beta].

    S₁ is the sum of the learning rate so far (warm-up included), S_k that since the k-th change.
    Warm-up counts as changes of the rate, as in the released code. `fit_law` pulls beta and gamma towards the
    released constants unless told `prior={}`: without that, beta and B are hardly identified.

    Source: Luo et al. 2025, eq. 5.
    """

    name = "multi_power"
    source = "Luo et al. 2025, arXiv 2503.12811"
    # beta trades off against B: without a pull, B runs to infinity on some data. The spread is three times
    # that
    # of the published fits (beta .583-.598, gamma .635-.655).
    prior = {"beta": (0.59, 0.05), "gamma": (0.64, 0.05)}  # noqa: RUF012
    parameters = (
        Parameter("L0", "irreducible loss of this model size, nats per token"),
        Parameter("A", "coefficient of the learning-rate sum"),
        Parameter("B", "loss drop per unit of learning rate given up"),
        Parameter("C", "speed of the loss drop"),
        Parameter("alpha", "exponent of the learning-rate sum"),
        Parameter("beta", "exponent of the loss drop"),
        Parameter("gamma", "exponent of the learning rate in the speed of the drop"),
    )

    def formula(
        self,
        values: Mapping[str, Any],
        *,
        area: Any,
        drops: Any,
        rates: Any,
        areas: Any,
        **_: Any,
    ) -> Any:
        """Loss from schedule features."""
        fallen = 1 - (1 + values["C"] * rates ** (-values["gamma"]) * areas) ** (-values["beta"])
        return (
            values["L0"] + values["A"] * area ** (-values["alpha"]) - values["B"] * (drops * fallen).sum(-1)
        )

    def gradient(
        self,
        values: Mapping[str, Any],
        *,
        area: Any,
        drops: Any,
        rates: Any,
        areas: Any,
        **_: Any,
    ) -> dict[str, Any]:
        """Derivatives, with x = C η^-gamma S."""
        x = values["C"] * rates ** (-values["gamma"]) * areas
        left = (1 + x) ** (-values["beta"])
        slope = values["beta"] * left * x / (1 + x)
        power = area ** (-values["alpha"])
        B = values["B"]
        return {
            "L0": area * 0 + 1.0,
            "A": power,
            "B": -(drops * (1 - left)).sum(-1),
            "C": -B * (drops * slope).sum(-1) / values["C"],
            "alpha": -values["A"] * power * log(area),
            "beta": -B * (drops * left * log1p(x)).sum(-1),
            "gamma": B * (drops * slope * log(rates)).sum(-1),
        }

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Floor, power and drop columns."""
        x = values["C"] * inputs["rates"] ** -values["gamma"] * inputs["areas"]
        return {
            "L0": np.ones_like(inputs["area"]),
            "A": inputs["area"] ** -values["alpha"],
            "B": -(inputs["drops"] * (1 - (1 + x) ** -values["beta"])).sum(axis=-1),
        }

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Around the published fits: alpha .43-.51, C 2, beta .6, gamma .65."""
        return {
            "alpha": (0.3, 0.5, 0.8),
            "C": (0.5, 2.0, 8.0),
            "beta": (0.3, 0.6, 1.0),
            "gamma": (0.3, 0.6, 0.9),
        }
