"""What an allocation decided, as a table in the columns of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def cost_column(unit: str, axis: str) -> str:
    """Column of what decisions cost: a cost that counts the axis itself has one of its own all the same."""
    return unit if unit != axis else f"{axis} in all"


def history(events: Sequence[Mapping[str, Any]], *, first: float, axis: str, unit: str) -> pd.DataFrame:
    """One row per decision that trained something, oldest first; see `AllocationResult.table`.

    Args:
        events: Events of a ledger.
        first: Budget in its header.
        axis: Name of the axis.
        unit: Column of what decisions cost; see `cost_column`.
    """
    paid: dict[int, float] = {}
    for event in events:
        if event["event"] == "done":
            paid[event["decision"]] = paid.get(event["decision"], 0.0) + float(event["cost"])
    rows, total = [], first
    for event in events:
        if event["event"] == "budget":
            total = float(event["total"])
        elif event["event"] == "decision" and event["orders"]:
            until = np.array([float(order["until"]) for order in event["orders"]])
            chances = event["prob_best"]
            kept = sum(chances.get(str(run), 0.0) for run in event["kept"]) if chances else np.nan
            rows.append(
                {
                    **{"rung": event["kind"], "runs": len(until), axis: float(np.median(until))},
                    **{f"{axis} (least)": until.min(), f"{axis} (most)": until.max()},
                    **{unit: paid.get(event["number"], 0.0), "prob_best_kept": kept, "total": total},
                }
            )
    names = ["rung", "runs", axis, f"{axis} (least)", f"{axis} (most)", unit, "prob_best_kept", "total"]
    table = pd.DataFrame(rows, columns=names)
    table.insert(6, "share", table[unit] / table["total"])
    return table
