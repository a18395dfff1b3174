"""Spending a compute budget: which run to start, extend, promote or stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probscale.lazy import deferred

if TYPE_CHECKING:
    from probscale.budget.allocation import AllocationResult, BestRun, allocate
    from probscale.budget.bench import Bench, Decision, Order, Strategy, drive
    from probscale.budget.planner import BudgetPlan, plan_budget
    from probscale.budget.registry import STRATEGIES
    from probscale.running import process_workers

# Resolved on first use: the rung arithmetic is of use without pandas and torch.
_HOME = {
    "allocate": ".allocation",
    "AllocationResult": ".allocation",
    "BestRun": ".allocation",
    "Bench": ".bench",
    "Decision": ".bench",
    "Order": ".bench",
    "Strategy": ".bench",
    "drive": ".bench",
    "plan_budget": ".planner",
    "BudgetPlan": ".planner",
    "STRATEGIES": ".registry",
    "process_workers": "probscale.running",
}

__all__ = [
    "STRATEGIES",
    "AllocationResult",
    "Bench",
    "BestRun",
    "BudgetPlan",
    "Decision",
    "Order",
    "Strategy",
    "allocate",
    "drive",
    "plan_budget",
    "process_workers",
]

__getattr__, __dir__ = deferred(__name__, _HOME)
