"""The Step law: optimal learning rate and batch size as power laws of model size and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from probscale.laws.arithmetic import log
from probscale.laws.law import Law, Parameter

__all__ = ["StepBatch", "StepLearningRate"]

Array = NDArray[np.float64]
INF = float("inf")


class LogLinear(Law):
    """output = coefficient · Π input^exponent: linear in logarithms, so every start is least squares."""

    exponents: ClassVar[Mapping[str, str]]

    def formula(self, values: Mapping[str, Any], **inputs: Any) -> Any:
        """Product of powers."""
        product = values["coefficient"]
        for name, exponent in self.exponents.items():
            product = product * inputs[name] ** values[exponent]
        return product

    def gradient(self, values: Mapping[str, Any], **inputs: Any) -> dict[str, Any]:
        """Derivatives by the coefficient and the exponents."""
        output = self.formula(values, **inputs)
        by_exponent = {exponent: output * log(inputs[name]) for name, exponent in self.exponents.items()}
        return {"coefficient": output / values["coefficient"], **by_exponent}

    def grid(self, inputs: Mapping[str, Array], output: Array) -> dict[str, Sequence[float]]:
        """Nothing to search."""
        return {}

    def project(
        self,
        values: Mapping[str, float],
        inputs: Mapping[str, Array],
        output: Array,
        fixed: Mapping[str, float],
    ) -> dict[str, float]:
        """Least squares of the logarithms, fixed exponents moved to the other side."""
        target, columns = np.log(output), {"coefficient": np.ones_like(output)}
        columns |= {exponent: np.log(inputs[name]) for name, exponent in self.exponents.items()}
        for name, value in fixed.items():
            target = target - columns.pop(name) * (np.log(value) if name == "coefficient" else value)
        solved = np.linalg.lstsq(np.stack(list(columns.values()), axis=1), target)[0]
        found = dict(zip(columns, solved.tolist(), strict=True)) | dict(fixed)
        if "coefficient" not in fixed:
            found["coefficient"] = float(np.exp(found["coefficient"]))
        return found


class StepLearningRate(LogLinear):
    """Best peak learning rate, coefficient · N^params_exponent · D^tokens_exponent.

    Published: 1.79, −.713, .307.

    Source: Li et al. 2025, eq. 1 (N without embeddings, D in tokens).
    """

    name = "step_learning_rate"
    inputs = ("params", "tokens")
    output = "learning_rate"
    source = "Li et al. 2025, arXiv 2503.04715"
    exponents = {"params": "params_exponent", "tokens": "tokens_exponent"}  # noqa: RUF012
    effects = {"params": ("params_exponent",), "tokens": ("tokens_exponent",)}  # noqa: RUF012
    parameters = (
        Parameter("coefficient", "learning rate at N = D = 1"),
        Parameter("params_exponent", "exponent of model size", -INF, INF),
        Parameter("tokens_exponent", "exponent of data", -INF, INF),
    )


class StepBatch(LogLinear):
    """Best batch size in tokens, coefficient · D^tokens_exponent.

    Published: .58, .571.

    Source: Li et al. 2025, eq. 1.
    """

    name = "step_batch"
    inputs = ("tokens",)
    output = "batch_tokens"
    source = "Li et al. 2025, arXiv 2503.04715"
    exponents = {"tokens": "tokens_exponent"}  # noqa: RUF012
    effects = {"tokens": ("tokens_exponent",)}  # noqa: RUF012
    parameters = (
        Parameter("coefficient", "batch in tokens at D = 1"),
        Parameter("tokens_exponent", "exponent of data", -INF, INF),
    )
