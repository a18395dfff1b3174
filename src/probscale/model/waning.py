"""How large the deviations of few curves are along the axis."""

from __future__ import annotations

import torch
from gpytorch import Module
from torch import Tensor

from probscale.model.priors import declare

WANE, BEND, SHAPE_STD = -0.5, 0.0, 0.15
"""Prior means of the two parameters and the standard deviation of both.

Logs of 14 to 30 runs of eight sources, each on its own, have -1.8 to +.2, on average -.6, and -.2 to +.3, on
average 0. Few runs cannot learn them: with four times the deviation they are often wrong.
"""

REACH = 2.0
"""Standardised axis value from which on nothing changes any more."""


class Waning(Module):
    """Factor on deviations: exp(wane t + bend (1 - 2 t²)), t the standardised axis value over its reach.

    Runs differ most while they learn at different paces and least near the end. A kernel that is as large
    everywhere takes what few runs say of the end for chance, and foretells larger runs with intervals
    several times too wide.

    Args:
        share: How much of this is believed, 0 to 1: of less, priors of both parameters are nearer to nothing.
    """

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        self.share = share
        for name, mean in (("wane", WANE), ("bend", BEND)):
            declare(self, name, share * mean, share * mean, share * SHAPE_STD)

    def forward(self, axis: Tensor) -> Tensor:
        """Factors at standardised axis values, same shape."""
        t = (axis / REACH).clamp(-1, 1)
        bump = 1 - 2 * t.square()
        return torch.exp(self.get_parameter("wane") * t + self.get_parameter("bend") * bump)

    def __call__(self, axis: Tensor) -> Tensor:
        """Factors at standardised axis values, same shape."""
        return self.forward(axis)
