"""A mean for curves of losses that span decades: a product of powers between two ends."""

from __future__ import annotations

from typing import final

from probscale.model.rising import PowerBetween

START = 0.98
"""Quantile of the modelled values at which losses are expected to begin."""


@final
class FallingMean(PowerBetween):
    """Logarithm of a loss whose size and axis divide what is there, in place of each taking off its own.

    With n and d the logarithms of size and axis value around their medians,

        e^y = e^floor + 1 / (e^-start + e^-(level + s_N n + s_D d)),

    that is the product of powers A N^s_N D^s_D, from what guessing has down to a floor of its own: the mirror
    image of `RisingMean`. A sum of powers, as the law is, flattens where one of its terms is left alone.
    """

    ends = ("start", "floor_level")
    sign = -1.0
