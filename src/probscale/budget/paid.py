"""What an allocation has paid and observed, read from its ledger: there a larger budget begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from probscale.budget.bench import Array
from probscale.budget.intake import fingerprint
from probscale.cost import CostModel
from probscale.errors import BudgetError
from probscale.ledger import read_ledger


@dataclass(frozen=True, eq=False)
class Paid:
    """Runs of a pool as an allocation left them.

    Attributes:
        configs: The pool.
        axis: Name of the axis.
        goal: "min" or "max".
        params: Column of model sizes, if the cost names one.
        spent: Compute paid for each run, (runs,).
        stopped: Runs that diverged or were given up, (runs,).
        seen: Finite points of each run in user units.
    """

    configs: pd.DataFrame
    axis: str
    goal: str
    params: str | None
    spent: Array
    stopped: NDArray[np.bool_]
    seen: tuple[tuple[tuple[float, float], ...], ...]

    def points(self, run: int) -> list[tuple[float, float]]:
        """Observed points, lower better."""
        sign = 1.0 if self.goal == "min" else -1.0
        return [(at, sign * value) for at, value in self.seen[run]]


def read_paid(
    path: str | Path, configs: pd.DataFrame, cost: CostModel, *, total: float, axis: str, params: str | None
) -> Paid:
    """State of an allocation that is to go on with a larger total.

    Raises:
        BudgetError: if there is no such ledger, it belongs to another pool, cost or axis, or to a loop that
            is no allocation, nothing was observed yet, or the total is paid already.
    """
    record = read_ledger(path)
    mine = {"pool": fingerprint(configs), "cost": cost.digest(configs), "axis": axis}
    other = [name for name, value in mine.items() if record.settings.get(name) != value]
    if other:
        raise BudgetError(
            f"the ledger {path} is of an allocation with another {' and '.join(other)}; plan with the pool, "
            "cost and axis that it began with",
            path=str(path),
            changed=other,
        )
    spent, stopped = np.zeros(len(configs)), np.zeros(len(configs), dtype=bool)
    seen: list[list[tuple[float, float]]] = [[] for _ in range(len(configs))]
    for event in record.events:
        if event["event"] in ("done", "failed"):
            _add(event, spent, stopped, seen)
        elif event["event"] == "budget":
            stopped[list(event.get("retried", ()))] = False
    if not any(seen):
        raise BudgetError(f"the ledger {path} holds no finite output yet; plan without it", path=str(path))
    if spent.sum() >= total:
        raise BudgetError(
            f"the ledger {path} has paid {spent.sum():g} of a total of {total:g}; plan with a larger total",
            total=total,
            spent=float(spent.sum()),
        )
    goal = record.settings["goal"]
    return Paid(configs, axis, goal, params, spent, stopped, tuple(map(tuple, seen)))


def _add(
    event: Mapping[str, Any],
    spent: Array,
    stopped: NDArray[np.bool_],
    seen: list[list[tuple[float, float]]],
) -> None:
    """Take what an increment did."""
    run = int(event["run"])
    if event["event"] == "failed":
        stopped[run] |= bool(event["final"])
        return
    spent[run] += float(event["cost"])
    points = [(float(at), float(value)) for at, value in event["points"]]
    stopped[run] = bool(points) and not math.isfinite(points[-1][1])
    seen[run] += [(at, value) for at, value in points if math.isfinite(value)]
