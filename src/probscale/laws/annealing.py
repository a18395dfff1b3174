"""The annealing law: loss from the learning-rate sum and the momentum of its decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.laws.arithmetic import log
from probscale.laws.law import Parameter
from probscale.laws.schedule import ScheduleLaw

__all__ = ["Annealing"]

Array = NDArray[np.float64]


class Annealing(ScheduleLaw):
    """L = L0 + A·S₁^-alpha − C·S₂, S₂ = Σ m_i, m_i = decay·m_{i−1} + (η_{i−1} − η_i).

    Summed over the changes of the rate, S₂ = Σ_k (η_{k−1} − η_k)(1 − decay^age_k)/(1 − decay), age in steps.

    Source: Tissue et al. 2024, eq. 1.
    """

    name = "annealing"
    source = "Tissue et al. 2024, arXiv 2408.11029"
    parameters = (
        Parameter("L0", "irreducible loss of this model size, nats per token"),
        Parameter("A", "coefficient of the learning-rate sum"),
        Parameter("C", "loss drop per unit of annealing area"),
        Parameter("alpha", "exponent of the learning-rate sum"),
        Parameter("decay", "memory of the annealing momentum per step", 0.0, 1.0),
    )

    def formula(
        self,
        values: Mapping[str, Any],
        *,
        area: Any,
        drops: Any,
        ages: Any,
        **_: Any,
    ) -> Any:
        """Loss from schedule features."""
        decay = values["decay"]
        annealed = (drops * (1 - decay**ages)).sum(-1) / (1 - decay)
        return values["L0"] + values["A"] * area ** (-values["alpha"]) - values["C"] * annealed

    def gradient(
        self,
        values: Mapping[str, Any],
        *,
        area: Any,
        drops: Any,
        ages: Any,
        **_: Any,
    ) -> dict[str, Any]:
        """Derivatives by L0, A, C, alpha, decay."""
        decay, power = values["decay"], area ** (-values["alpha"])
        kept = decay**ages
        annealed = (drops * (1 - kept)).sum(-1) / (1 - decay)
        by_decay = (annealed - (drops * ages * kept).sum(-1) / decay) / (1 - decay)
        return {
            "L0": area * 0 + 1.0,
            "A": power,
            "C": -annealed,
            "alpha": -values["A"] * power * log(area),
            "decay": -values["C"] * by_decay,
        }

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Floor, power and annealing columns."""
        decay = values["decay"]
        return {
            "L0": np.ones_like(inputs["area"]),
            "A": inputs["area"] ** -values["alpha"],
            "C": -(inputs["drops"] * (1 - decay ** inputs["ages"])).sum(axis=-1) / (1 - decay),
        }

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """The paper holds decay at .99-.9995."""
        return {"alpha": (0.3, 0.5, 0.8), "decay": (0.9, 0.99, 0.995, 0.999, 0.9995)}
