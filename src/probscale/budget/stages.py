"""Budgets that one ledger was given, one after another: a budget may grow, and nothing is paid again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probscale.errors import BudgetError
from probscale.ledger import Ledger

SAME = 1e-12
"""Totals that differ by less than this part are the same: they went through text."""


@dataclass(frozen=True)
class Stage:
    """A budget, and how long it was the present one.

    Attributes:
        total: Budget, with all that was paid before.
        decisions: Decisions taken before it grew; None for the present one.
    """

    total: float
    decisions: int | None = None


def stages(events: Sequence[Mapping[str, Any]], first: float) -> tuple[Stage, ...]:
    """Budgets of a ledger, oldest first.

    Args:
        events: Events of the ledger.
        first: Budget in its header.
    """
    found, total, before = [], first, 0
    for event in events:
        if event["event"] == "budget":
            found.append(Stage(total, event["decisions"] - before))
            total, before = float(event["total"]), event["decisions"]
    return (*found, Stage(total))


def grown(ledger: Ledger, total: float) -> tuple[Stage, ...]:
    """Budgets of a ledger that is given `total` now; a larger one than before is recorded.

    Raises:
        BudgetError: if the ledger was given more before.
    """
    known = stages(ledger.events(), float(ledger.settings["total"]))
    before = known[-1].total
    if abs(total - before) <= SAME * before:
        return known
    if total < before:
        raise BudgetError(
            f"total is {total:g}, but the ledger {ledger.path} was given {before:g} already; pass the same "
            "to resume, more to go on from what was learnt, or give this allocation a ledger of its own",
            total=total,
            given=before,
        )
    count = sum(event["event"] == "decision" for event in ledger.events())
    ledger.append({"event": "budget", "total": total, "before": before, "decisions": count})
    return stages(ledger.events(), float(ledger.settings["total"]))
