"""What runs cost: FLOPs by arithmetic, seconds from logs, money per device-hour, or a user's own measure."""

from probscale.cost.arithmetic import (
    FlopsCost,
    FunctionCost,
    MoneyCost,
    RateCost,
    ThroughputCost,
    as_cost,
)
from probscale.cost.logged import SecondsCost, TableCost
from probscale.cost.model import CostModel

__all__ = [
    "CostModel",
    "FlopsCost",
    "FunctionCost",
    "MoneyCost",
    "RateCost",
    "SecondsCost",
    "TableCost",
    "ThroughputCost",
    "as_cost",
]
