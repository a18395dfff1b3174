"""Spread of what outliers are among."""

from __future__ import annotations

STD_PER_MEDIAN = 1.4826
"""Standard deviation of normal errors over the median of their absolute values."""
