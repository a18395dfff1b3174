"""Costs by arithmetic: FLOPs, seconds at a known throughput, money, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from probscale.cost.model import CostModel, Quantity, positive
from probscale.errors import ConfigError


@dataclass(frozen=True)
class FlopsCost(CostModel):
    """Training FLOPs of a dense transformer: 6·N per token, attention and embeddings as options.

    Attributes:
        params: Column (or number) of parameters N that multiply once per token.
        per_param_token: FLOPs per parameter and token; 6 for a forward and a backward pass.
        attention: Columns (or numbers) of layers, model width and context length; adds the score and value
            products of attention, 12 · layers · width · context FLOPs per token. Off by default.
        embedding_params: Column (or number) of parameters that `params` leaves out but that multiply, such as
            the unembedding matrix. Off by default.
        tokens_per_axis: Tokens per unit of the axis: 1 for an axis in tokens, or a number or column (for
            example of tokens per batch) for an axis in steps.

    Source: Kaplan et al. 2020, section 2.1 (6·N); Chowdhery et al. 2022, appendix B (attention).

    >>> FlopsCost(params="N")([{"N": 1e8}], [1e9, 2e9])
    array([[6.0e+17, 1.2e+18]])
    """

    params: Quantity = "N_params"
    per_param_token: float = 6.0
    attention: tuple[Quantity, Quantity, Quantity] | None = None
    embedding_params: Quantity | None = None
    tokens_per_axis: Quantity = 1.0
    unit = "FLOPs"

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        per_token = self.per_param_token * positive(configs, self.params, "params")
        if self.embedding_params is not None:
            extra = positive(configs, self.embedding_params, "embedding_params", zero=True)
            per_token = per_token + self.per_param_token * extra
        if self.attention is not None:
            names = ("layers", "width", "context")
            if isinstance(self.attention, str) or len(self.attention) != len(names):
                raise ConfigError(
                    f"attention is {self.attention!r}; pass three columns or numbers: layers, width, context"
                )
            sizes = [positive(configs, size, name) for size, name in zip(self.attention, names, strict=True)]
            per_token = per_token + 12.0 * sizes[0] * sizes[1] * sizes[2]
        tokens = at * positive(configs, self.tokens_per_axis, "tokens_per_axis")[:, None]
        return per_token[:, None] * tokens


@dataclass(frozen=True)
class RateCost(CostModel):
    """A known cost per unit of the axis, such as exact FLOPs per token.

    Attributes:
        rate: Column (or number) of cost per unit of the axis; 1 makes the axis itself the cost.
        params: Column of the model size, where strategies should know it; the cost does not depend on it.
        unit: Unit of the costs.

    >>> RateCost("per_token", unit="FLOPs")([{"per_token": 7e8}], [1e9, 2e9])
    array([[7.0e+17, 1.4e+18]])
    """

    rate: Quantity
    params: str | None = None
    unit: str = "cost"

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        return at * positive(configs, self.rate, "rate")[:, None]


@dataclass(frozen=True)
class ThroughputCost(CostModel):
    """Seconds on one device, from FLOPs and the rate at which the device reaches them.

    Attributes:
        flops: Cost in FLOPs.
        flops_per_second: Achieved rate, that is peak times utilisation; a number or a column.
    """

    flops: CostModel
    flops_per_second: Quantity
    unit = "seconds"

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        rate = positive(configs, self.flops_per_second, "flops_per_second")
        return self.flops.total(configs, at) / rate[:, None]


@dataclass(frozen=True)
class MoneyCost(CostModel):
    """Money for the device-hours that another cost takes in seconds.

    Attributes:
        seconds: Cost in wall-clock seconds.
        device_hour: Price of one device for one hour; a number or a column.
        devices: Devices that run at the same time; a number or a column.
        unit: Currency.
    """

    seconds: CostModel
    device_hour: Quantity
    devices: Quantity = 1.0
    unit: str = "money"

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", as_cost(self.seconds))
        if self.seconds.unit == "FLOPs":
            raise ConfigError(
                "seconds is a cost in FLOPs; divide it by the rate of the device first: "
                "MoneyCost(ThroughputCost(flops, flops_per_second=...), device_hour=...)",
                unit=self.seconds.unit,
            )

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        price = positive(configs, self.device_hour, "device_hour", zero=True)
        devices = positive(configs, self.devices, "devices")
        return self.seconds.total(configs, at) / 3600.0 * (price * devices)[:, None]


@dataclass(frozen=True)
class FunctionCost(CostModel):
    """A cost given by a function.

    Attributes:
        function: Called with a frame of configurations and axis values of shape (configs, points); returns
            cumulative costs of that shape, or of one that broadcasts to it.
        unit: Unit of the costs.
    """

    function: Callable[[pd.DataFrame, np.ndarray], ArrayLike]
    unit: str = "cost"

    def total(self, configs: pd.DataFrame, at: np.ndarray) -> np.ndarray:  # noqa: D102
        costs = np.asarray(self.function(configs, at), dtype=np.float64)
        try:
            return np.broadcast_to(costs, at.shape)
        except ValueError:
            return costs


def as_cost(cost: CostModel | Callable[[pd.DataFrame, np.ndarray], ArrayLike]) -> CostModel:
    """A cost model; a plain function of configurations and axis values becomes one.

    Raises:
        ConfigError: if it is neither.

    >>> as_cost(lambda configs, at: 2 * at)([{"width": 64}], [1.0, 3.0])
    array([[2., 6.]])
    """
    if isinstance(cost, CostModel):
        return cost
    if callable(cost):
        return FunctionCost(cost)
    raise ConfigError(
        f"cost is {cost!r}; pass a cost model such as FlopsCost(params='N_params'), or a function "
        "of (configs, axis values) that returns cumulative costs",
        cost=cost,
    )
