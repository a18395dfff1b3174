"""The loss-to-loss law: the loss on one distribution from the loss on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.laws.arithmetic import log
from probscale.laws.law import Law, Parameter

__all__ = ["LossToLoss"]

Array = NDArray[np.float64]


class LossToLoss(Law):
    """L1 = K (L0 − E0)^kappa + E1 for pairs of equal compute; E0 stays below the smallest L0.

    Source: Brandfonbrener et al. 2024, eq. 4.
    """

    name = "loss_to_loss"
    inputs = ("source_loss",)
    source = "Brandfonbrener et al. 2024, arXiv 2411.12925"
    effects = {"source_loss": ("K", "kappa")}  # noqa: RUF012
    parameters = (
        Parameter("K", "coefficient"),
        Parameter("kappa", "exponent"),
        Parameter("E0", "irreducible loss of the source"),
        Parameter("E1", "irreducible loss of the target"),
    )

    def formula(self, values: Mapping[str, Any], *, source_loss: Any, **_: Any) -> Any:
        """Shifted power law."""
        return values["K"] * (source_loss - values["E0"]) ** values["kappa"] + values["E1"]

    def gradient(self, values: Mapping[str, Any], *, source_loss: Any, **_: Any) -> dict[str, Any]:
        """Derivatives by K, kappa, E0, E1."""
        gap = source_loss - values["E0"]
        power = gap ** values["kappa"]
        return {
            "K": power,
            "kappa": values["K"] * power * log(gap),
            "E0": -values["K"] * values["kappa"] * power / gap,
            "E1": gap * 0 + 1.0,
        }

    def bounds(self, inputs: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
        """E0 lies between zero and the smallest source loss."""
        return super().bounds(inputs) | {"E0": (0.0, float(inputs["source_loss"].min()))}

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Power and floor columns."""
        gap = inputs["source_loss"] - values["E0"]
        return {"K": gap ** values["kappa"], "E1": np.ones_like(gap)}

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Exponents around one, floors as shares of the smallest source loss."""
        least = float(inputs["source_loss"].min())
        shares = (0.05, 0.3, 0.5, 0.7, 0.9)
        return {"kappa": (0.5, 0.8, 1.0, 1.25, 1.7), "E0": [share * least for share in shares]}

    def scale(self, inputs: Mapping[str, Array]) -> Array:
        """Smaller source losses come from larger runs."""
        return 1 / inputs["source_loss"]
