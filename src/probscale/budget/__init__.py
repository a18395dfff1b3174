"""Spending a compute budget: which run to start, extend, promote or stop."""
