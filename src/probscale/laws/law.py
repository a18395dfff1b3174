"""What a parametric law is: named parameters, a formula, its gradient, and where to start a fit."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from probscale.errors import LawError
from probscale.laws.inputs import check_keywords, read_inputs

__all__ = ["Law", "Optimum", "Parameter"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law and its open range.

    Attributes:
        name: Key in `fit.values`.
        meaning: What it measures.
        lower: Largest value that is too small.
        upper: Smallest value that is too large.
    """

    name: str
    meaning: str
    lower: float = 0.0
    upper: float = math.inf


@dataclass(frozen=True)
class Optimum:
    """Best split of a training budget between model size and data.

    Attributes:
        compute: Training budgets, FLOPs.
        params: Best parameter count per budget.
        tokens: Best token count per budget.
        loss: Loss reached there.
    """

    compute: Array
    params: Array
    tokens: Array
    loss: Array


class Law(ABC):
    """A parametric law, `output = formula(values, **inputs)`.

    `formula` uses arithmetic operators and `laws.arithmetic` alone, so arrays and tensors both pass
    through it. Residuals are taken on the scale of `link` (the logarithm), where multiplicative noise
    has constant spread.
    """

    name: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    output: ClassVar[str] = "loss"
    source: ClassVar[str]
    effects: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    prior: ClassVar[Mapping[str, tuple[float, float]]] = {}
    parameters: tuple[Parameter, ...]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({(type(self).__doc__ or '').splitlines()[0].rstrip('.')})"

    def __str__(self) -> str:
        meanings = [f"  {parameter.name}: {parameter.meaning}" for parameter in self.parameters]
        return "\n".join(
            [
                f"{self.name}: {(type(self).__doc__ or '').splitlines()[0]}",
                f"inputs {', '.join(self.inputs)}; output {self.output}",
                *meanings,
                f"source: {self.source}",
            ]
        )

    @abstractmethod
    def formula(self, values: Mapping[str, Any], **inputs: Any) -> Any:
        """Output of the law, unchecked; the fast path for fitting and for mean functions."""

    @abstractmethod
    def gradient(self, values: Mapping[str, Any], **inputs: Any) -> dict[str, Any]:
        """Derivative of the output with respect to each parameter, keyed by name."""

    @abstractmethod
    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Starting values of the parameters that `project` does not solve for."""

    def basis(self, values: Mapping[str, float], inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Columns of the parameters that enter linearly, given the others."""
        return {}

    def evaluate(self, values: Mapping[str, Any], **inputs: Any) -> Any:
        """Output of the law, with the parameters checked.

        Args:
            values: One number or tensor per parameter.
            **inputs: Arrays or tensors, one per name in `self.inputs`.

        Raises:
            LawError: if a parameter is missing, or a number lies outside its range.
        """
        self.check_values(values)
        check_keywords(self.name, self.inputs, inputs)
        return self.formula(values, **inputs)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def link(self, output: Any) -> Any:
        """Scale on which residuals are measured."""
        return np.log(output)

    def link_slope(self, output: Any) -> Any:
        """Derivative of `link`."""
        return 1 / output

    def unlink(self, linked: Any) -> Any:
        """Inverse of `link`."""
        return np.exp(linked)

    def prepare(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Checked float64 inputs of one common shape, as `formula` takes them."""
        return read_inputs(self.name, self.inputs, raw)

    def bounds(self, inputs: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
        """Open range of each parameter, given the inputs of a fit."""
        return {parameter.name: (parameter.lower, parameter.upper) for parameter in self.parameters}

    def scale(self, inputs: Mapping[str, Array]) -> Array:
        """Size of each point, by which `compare_laws` decides which are the largest."""
        return np.prod([inputs[name] for name in self.inputs], axis=0)

    def optimum(self, values: Mapping[str, float], compute: Array, **extra: Any) -> Optimum:
        """Compute-optimal model size and data.

        Raises:
            LawError: if the law does not say how loss depends on both.
        """
        raise LawError(
            f"law {self.name!r} has no compute-optimal split: it is not a law of params and tokens; "
            'fit "chinchilla", "kaplan" or "data_constrained" instead',
            law=self.name,
        )

    def check_output(self, output: Array) -> None:  # noqa: B027 - most laws accept every positive output
        """Refuse outputs that the law cannot produce; positive, finite ones arrive."""

    def varying(self, fixed: Mapping[str, float]) -> tuple[str, ...]:
        """Inputs that must differ between points for the free parameters to be identified."""
        return tuple(name for name, needed in self.effects.items() if any(n not in fixed for n in needed))

    def check_values(self, values: Mapping[str, Any], partial: bool = False) -> None:
        """Refuse missing parameters and numbers outside their range; tensors pass unread."""
        for parameter in self.parameters:
            if parameter.name not in values:
                if partial:
                    continue
                raise LawError(
                    f"law {self.name!r} needs a value for {parameter.name!r} ({parameter.meaning}); "
                    f"pass all of {', '.join(self.names)}",
                    law=self.name,
                    parameter=parameter.name,
                )
            value = values[parameter.name]
            if isinstance(value, int | float) and not parameter.lower < value < parameter.upper:
                self._refuse(parameter, value)

    def _refuse(self, parameter: Parameter, value: float) -> None:
        raise LawError(
            f"{parameter.name} = {value!r} lies outside ({parameter.lower:g}, {parameter.upper:g}), the "
            f"range of "
            f"{parameter.name} ({parameter.meaning}) in law {self.name!r}; pass a value inside it",
            law=self.name,
            parameter=parameter.name,
            value=value,
        )

    def project(
        self,
        values: Mapping[str, float],
        inputs: Mapping[str, Array],
        output: Array,
        fixed: Mapping[str, float],
    ) -> dict[str, float]:
        """Complete a start: non-negative least squares in relative error for the linear parameters.

        Source: variable projection, Golub and Pereyra 1973.
        """
        columns = self.basis(values, inputs)
        free = [name for name in columns if name not in fixed]
        target = np.ones_like(output) - sum(
            fixed[name] * columns[name] / output for name in columns if name in fixed
        )
        if not free:
            return dict(values)
        design = np.stack([columns[name] / output for name in free], axis=1)
        scale = np.abs(design).mean(axis=0)
        if not (np.isfinite(design).all() and (scale > 0).all()):
            return dict(values) | {name: math.nan for name in free}
        coefficients, _ = nnls(design / scale, target)
        # An inactive term restarts at a thousandth of the output: log-parametrised, it could not leave zero.
        coefficients = np.maximum(coefficients, 1e-3) / scale
        return dict(values) | dict(zip(free, coefficients.tolist(), strict=True))

    def starts(
        self, inputs: Mapping[str, Array], output: Array, fixed: Mapping[str, float]
    ) -> list[tuple[tuple[int, ...], dict[str, float]]]:
        """Every grid point with its linear parameters solved, beside its position on the grid."""
        axes = {
            name: [fixed[name]] if name in fixed else list(grid)
            for name, grid in self.grid(inputs, output).items()
        }
        cells = product(*(range(len(axis)) for axis in axes.values()))
        found = []
        for cell in cells:
            values = {name: axes[name][i] for name, i in zip(axes, cell, strict=True)} | dict(fixed)
            # A start far outside the law's domain overflows; it scores as infinite and is dropped.
            with np.errstate(all="ignore"):
                found.append((cell, self.project(values, inputs, output, fixed)))
        return found
