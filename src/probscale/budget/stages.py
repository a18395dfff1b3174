"""Budgets that one ledger was given, one after another: a budget may grow, and nothing is paid again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probscale.errors import BudgetError
from probscale.ledger import Ledger
from probscale.running import retryable

SAME = 1e-12
"""Totals that differ by less than this part are the same: they went through text."""


@dataclass(frozen=True)
class Stage:
    """A budget, and how long it was the present one.

    Attributes:
        total: Budget, with all that was paid before.
        decisions: Decisions taken before it grew; None for the present one.
        retried: Runs given up before that may be tried again, as rows of the pool.
    """

    total: float
    decisions: int | None = None
    retried: tuple[int, ...] = ()


def stages(events: Sequence[Mapping[str, Any]], first: float) -> tuple[Stage, ...]:
    """Budgets of a ledger, oldest first.

    Args:
        events: Events of the ledger.
        first: Budget in its header.
    """
    found, total, before, retried = [], first, 0, ()
    for event in events:
        if event["event"] == "budget":
            found.append(Stage(total, event["decisions"] - before, retried))
            total, before = float(event["total"]), event["decisions"]
            retried = tuple(event.get("retried", ()))
    return (*found, Stage(total, retried=retried))


def grown(ledger: Ledger, total: float, *, retry_failed: bool = False) -> tuple[Stage, ...]:
    """Budgets of a ledger that is given `total` now; a larger one than before is recorded.

    Args:
        ledger: The ledger.
        total: Budget, with all that was paid before.
        retry_failed: Whether runs given up may be tried again, which is recorded too.

    Raises:
        BudgetError: if the ledger was given more before.
    """
    known = stages(ledger.events(), float(ledger.settings["total"]))
    before = known[-1].total
    same = abs(total - before) <= SAME * before
    retried = tuple(sorted(retryable(ledger.events()))) if retry_failed else ()
    if same and not retried:
        return known
    if total < before and not same:
        raise BudgetError(
            f"total is {total:g}, but the ledger {ledger.path} was given {before:g} already; pass the same "
            "to resume, more to go on from what was learnt, or give this allocation a ledger of its own",
            total=total,
            given=before,
        )
    count = sum(event["event"] == "decision" for event in ledger.events())
    again = {"retried": list(retried)} if retried else {}
    ledger.append({"event": "budget", "total": total, "before": before, "decisions": count, **again})
    return stages(ledger.events(), float(ledger.settings["total"]))
