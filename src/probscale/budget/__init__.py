"""Spending a compute budget: which run to start, extend, promote or stop."""

from probscale.budget.allocate import AllocationResult, BestRun, allocate

__all__ = ["AllocationResult", "BestRun", "allocate"]
