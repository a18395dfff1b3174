"""A mean for curves of losses that span decades: a product of powers between two ends."""

from __future__ import annotations

from typing import final

from torch import Tensor

from probscale.model.means import CurveMean, LawScale, Rows
from probscale.model.rising import CEILING, CEILING_STD, CHANCE_STD, SLOPE, between

START = 0.98
"""Quantile of the modelled values at which losses are expected to begin."""


@final
class FallingMean(CurveMean):
    """Logarithm of a loss whose size and axis divide what is there, in place of each taking off its own.

    With n and d the logarithms of size and axis value around their medians,

        e^y = e^floor + 1 / (e^-start + e^-(level + s_N n + s_D d)),

    that is the product of powers A N^s_N D^s_D, from what guessing has down to a floor of its own: the mirror
    image of `RisingMean`. A sum of powers, as the law is, flattens where one of its terms is left alone.
    """

    def __init__(self, scale: LawScale, *, level: float, spread: float, ends: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale
        self.names = ("start", "floor_level", "level", "size_slope", "progress_slope")
        self.declare("start", ends[1], CHANCE_STD)
        self.declare("floor_level", ends[0] - CEILING, CEILING_STD)
        self.declare("level", level, spread)
        self.declare("size_slope", 0.0, SLOPE * spread)
        self.declare("progress_slope", 0.0, SLOPE * spread)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """Logarithm of the product of powers, below its start and above its floor."""
        size = rows.size - self.scale.size
        progress = rows.progress - self.scale.progress
        start, floor = (value.expand_as(progress) for value in values[:2])
        return -between(-start, -floor, -(values[2] + values[3] * size + values[4] * progress))
