"""The model that reaches a loss most cheaply once its inference is paid for too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from probscale.errors import LawError
from probscale.laws.bootstrap import LawBootstrap
from probscale.laws.chinchilla import Chinchilla
from probscale.laws.inputs import read_array
from probscale.laws.result import LawFit

__all__ = ["InferenceOptimum", "inference_optimum"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class InferenceOptimum:
    """Cheapest model of a given loss, arrays over the inference demand.

    Attributes:
        params: Model size.
        tokens: Training tokens.
        training_flops: 6·N·D.
        inference_flops: 2·N·D_inference.
    """

    params: Array
    tokens: Array
    training_flops: Array
    inference_flops: Array

    @property
    def flops(self) -> Array:
        """Total over the model's life."""
        return self.training_flops + self.inference_flops


def inference_optimum(
    law: LawFit | LawBootstrap | Mapping[str, float], *, loss: float, inference_tokens: ArrayLike
) -> InferenceOptimum:
    """Minimise 6·N·D + 2·N·D_inference subject to L(N, D) = loss under a Chinchilla law.

    Args:
        law: A Chinchilla fit, its bootstrap (then arrays gain a leading axis of resamples), or its five
            values.
        loss: Loss to reach; above the floor E.
        inference_tokens: Tokens the model will process over its life; zero gives the training optimum.

    Raises:
        LawError: if the law is not Chinchilla's, or `loss` is not above its floor.

    Cost: one root in one dimension per demand and resample, some 50 µs.

    Source: Sardana et al. 2024, eq. 2.
    """
    demand = read_array("inference_tokens", inference_tokens, positive=False)
    if (demand < 0).any():
        raise LawError(
            f"inference_tokens is {demand.min():g}; pass zero or more tokens", value=float(demand.min())
        )
    if isinstance(law, LawBootstrap):
        _check_chinchilla(law.fit)
        rows = [_solve(row, loss, demand) for row in law.rows]
        params, tokens = np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])
    else:
        params, tokens = _solve(_check_chinchilla(law), loss, demand)
    return InferenceOptimum(params, tokens, 6 * params * tokens, 2 * params * demand)


def _check_chinchilla(law: LawFit | Mapping[str, float]) -> Mapping[str, float]:
    if not isinstance(law, LawFit):
        Chinchilla().check_values(law)
        return law
    if not isinstance(law.law, Chinchilla):
        raise LawError(f'inference_optimum needs a Chinchilla law, got {law.law.name!r}; fit "chinchilla"')
    return law.values


def _solve(values: Mapping[str, float], loss: float, demand: Array) -> tuple[Array, Array]:
    E, A, B, a, b = (values[name] for name in ("E", "A", "B", "alpha", "beta"))
    gap = loss - E
    if not gap > 0:
        raise LawError(
            f"loss {loss:g} is not above the floor E = {E:g} of the law, so no model reaches it; ask "
            f"for more",
            loss=loss,
            floor=E,
        )

    # share = the part of the gap left to model size. Along L = loss, dD/dN = −(αA N^−α / N)/(βB D^−β / D).
    def sizes(share: float) -> tuple[float, float]:
        return (A / (gap * share)) ** (1 / a), (B / (gap * (1 - share))) ** (1 / b)

    def slope(logit_share: float, wanted: float) -> float:
        share = 1 / (1 + np.exp(-logit_share))
        _, tokens = sizes(share)
        return a * share / (b * (1 - share)) - 1 - wanted / (3 * tokens)

    params, tokens = np.empty(demand.shape), np.empty(demand.shape)
    for index, wanted in np.ndenumerate(demand):
        root = float(brentq(slope, -30.0, 30.0, args=(float(wanted),), xtol=1e-13))  # pyright: ignore[reportArgumentType]
        params[index], tokens[index] = sizes(1 / (1 + np.exp(-root)))
    return params, tokens
