"""The broken neural scaling law: a power law with smooth breaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probscale.errors import LawError
from probscale.laws.arithmetic import exp, log, softplus
from probscale.laws.law import Law, Parameter

__all__ = ["BrokenPowerLaw"]

Array = NDArray[np.float64]
INF = float("inf")


@dataclass(frozen=True)
class BrokenPowerLaw(Law):
    """y = a + b x^-c0 Π (1 + (x/d_i)^(1/f_i))^(−c_i f_i).

    Attributes:
        breaks: Number of breaks; the name is "bnsl" with one, "bnsl2" with two, and so on. Zero is a
            power law with a floor.

    Source: Caballero et al. 2023, eq. 1.
    """

    breaks: int = 1
    inputs = ("x",)
    source = "Caballero et al. 2023, arXiv 2210.14891"
    effects = {"x": ("b", "c0")}  # noqa: RUF012

    def __post_init__(self) -> None:
        if self.breaks < 0:
            raise LawError(f"breaks is {self.breaks}; pass 0, 1, 2 ...", breaks=self.breaks)

    @property
    def name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Name in the registry and in messages."""
        return "bnsl" if self.breaks == 1 else f"bnsl{self.breaks}"

    @property
    def parameters(self) -> tuple[Parameter, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Floor, scale and first exponent, then three per break."""
        head = (
            Parameter("a", "floor"),
            Parameter("b", "scale of the first segment"),
            Parameter("c0", "exponent of the first segment", -INF, INF),
        )
        each = [
            (
                Parameter(f"c{i}", f"change of the exponent at break {i}", -INF, INF),
                Parameter(f"d{i}", f"position of break {i}"),
                Parameter(f"f{i}", f"width of break {i}, in e-folds of x"),
            )
            for i in range(1, self.breaks + 1)
        ]
        return head + tuple(parameter for group in each for parameter in group)

    def formula(self, values: Mapping[str, Any], *, x: Any, **_: Any) -> Any:
        """Evaluated through logarithms: (x/d)^(1/f) overflows for sharp breaks."""
        return values["a"] + values["b"] * self._shape(values, x)

    def _shape(self, values: Mapping[str, Any], x: Any) -> Any:
        at = log(x)
        exponent = -values["c0"] * at
        for i in range(1, self.breaks + 1):
            width = values[f"f{i}"]
            exponent = exponent - values[f"c{i}"] * width * softplus((at - log(values[f"d{i}"])) / width)
        return exp(exponent)

    def gradient(self, values: Mapping[str, Any], *, x: Any, **_: Any) -> dict[str, Any]:
        """Derivatives, with z = log(x/d)/f."""
        at, shape = log(x), self._shape(values, x)
        term = values["b"] * shape
        found = {"a": shape * 0 + 1.0, "b": shape, "c0": -term * at}
        for i in range(1, self.breaks + 1):
            change, place, width = values[f"c{i}"], values[f"d{i}"], values[f"f{i}"]
            z = (at - log(place)) / width
            soft, past = softplus(z), exp(-softplus(-z))
            found[f"c{i}"] = -term * width * soft
            found[f"d{i}"] = term * change * past / place
            found[f"f{i}"] = -term * change * (soft - z * past)
        return found

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Floor and shape columns."""
        return {"a": np.ones_like(inputs["x"]), "b": self._shape(values, inputs["x"])}

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Breaks at quantiles of log x, steeper or flatter after each."""
        low, high = np.log(inputs["x"].min()), np.log(inputs["x"].max())
        axes: dict[str, Sequence[float]] = {"c0": (0.05, 0.2, 0.5, 1.0)}
        for i in range(1, self.breaks + 1):
            shares = (np.arange(3) + 0.5) / 3 / self.breaks + (i - 1) / self.breaks
            axes |= {
                f"c{i}": (-0.2, 0.3),
                f"d{i}": np.exp(low + shares * (high - low)).tolist(),
                f"f{i}": (0.3,) if self.breaks > 1 else (0.1, 0.5),
            }
        return axes
