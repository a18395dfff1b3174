"""A mean for outputs that no law describes, which flattens as power laws do."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from probscale.model.means import CurveMean, LawScale, Rows

BEND, BEND_STD = 0.15, 0.15
"""Prior of exponents. Zero is a straight line; a smooth function of a loss flattens as the loss does."""

STRAIGHT = 1e-4
"""Exponents below which a power is evaluated by its series."""


@final
class BentMean(CurveMean):
    """A constant plus powers of size and axis: what is left to gain shrinks with both.

    y = level + s_N φ(n; a) + s_D φ(d; b), φ(x; a) = (1 - e^{-a x}) / a, with n and d the logarithms of size
    and axis value around their medians: a plane for a = b = 0, else the shape of Hoffmann et al. 2022, eq. 2.
    """

    def __init__(self, scale: LawScale, *, level: float, spread: float) -> None:
        super().__init__()
        self.scale = scale
        self.names = ("level", "size_slope", "progress_slope", "size_bend", "progress_bend")
        self.declare("level", level, spread)
        self.declare("size_slope", 0.0, 0.3 * spread)
        self.declare("progress_slope", 0.0, 0.3 * spread)
        self.declare("size_bend", BEND, BEND_STD)
        self.declare("progress_bend", BEND, BEND_STD)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """Level plus what size and axis add."""
        size = bent(rows.size - self.scale.size, values[3])
        progress = bent(rows.progress - self.scale.progress, values[4])
        return values[0] + values[1] * size + values[2] * progress


def bent(x: Tensor, exponent: Tensor) -> Tensor:
    """(1 - e^{-a x}) / a, and x where a is zero; derivatives in a included."""
    small = exponent.abs() < STRAIGHT
    safe = torch.where(small, torch.full_like(exponent, STRAIGHT), exponent)
    power = -torch.expm1((-safe * x).clamp(-30.0, 30.0)) / safe
    return torch.where(small, x - 0.5 * exponent * x.square(), power)
