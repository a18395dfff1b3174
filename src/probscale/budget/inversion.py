"""Costs turned round: how far along the axis some compute goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from probscale.budget.bench import Array


def axis_at_cost(cost: Callable[..., Array], configs: pd.DataFrame, compute: Array) -> Array:
    """Axis values at which configurations have cost `compute` each, (configs,).

    Costs never fall along the axis; proportional ones are inverted directly, others by bisection.
    """

    def at(values: Array) -> Array:
        return cost(configs, values[:, None])[:, 0]

    rate = at(np.ones(len(configs)))
    guess = np.divide(compute, rate, out=np.ones_like(compute), where=rate > 0)
    if np.allclose(at(guess), compute, rtol=1e-12, atol=0.0):
        return guess
    low, high = np.zeros_like(compute), np.maximum(guess, 1.0)
    for _ in range(200):
        short = at(high) < compute
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    for _ in range(100):
        middle = 0.5 * (low + high)
        short = at(middle) < compute
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high
