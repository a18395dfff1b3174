"""A power law with a floor, L = E + A/x^alpha: loss against compute, data or size alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.laws.arithmetic import log
from probscale.laws.chinchilla import EXPONENTS
from probscale.laws.law import Law, Parameter

__all__ = ["Power"]

Array = NDArray[np.float64]


class Power(Law):
    """L = E + A/x^alpha.

    Source: Hestness et al. 2017; Henighan et al. 2020, eq. 1.1.
    """

    name = "power"
    inputs = ("x",)
    source = "Henighan et al. 2020, arXiv 2010.14701"
    effects = {"x": ("A", "alpha")}  # noqa: RUF012
    parameters = (
        Parameter("E", "irreducible loss"),
        Parameter("A", "coefficient"),
        Parameter("alpha", "exponent"),
    )

    def formula(self, values: Mapping[str, Any], *, x: Any, **_: Any) -> Any:
        """E + A/x^alpha."""
        return values["E"] + values["A"] * x ** (-values["alpha"])

    def gradient(self, values: Mapping[str, Any], *, x: Any, **_: Any) -> dict[str, Any]:
        """Derivatives by E, A, alpha."""
        power = x ** (-values["alpha"])
        return {"E": power * 0 + 1.0, "A": power, "alpha": -values["A"] * power * log(x)}

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Floor and power columns."""
        return {"E": np.ones_like(inputs["x"]), "A": inputs["x"] ** -values["alpha"]}

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Exponents seen in practice."""
        return {"alpha": (0.02, 0.05, *EXPONENTS)}
