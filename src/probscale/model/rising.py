"""A mean for curves of scores that stay at chance for a while, rise, and come to an end below the best."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from probscale.model.means import CurveMean, LawScale, Rows

SLOPE = 0.6
"""Prior scale of slopes per e-fold, in standard deviations of the modelled values."""

CHANCE_STD = 1.0
"""Prior standard deviation of the logarithm of what guessing scores."""

CEILING, CEILING_STD = 2.0, 2.0
"""Prior of the logarithm of the odds that cannot be passed, counted from the best observed."""

SETTLED = ("chance", "size_slope", "progress_slope")
"""Parameters that a kernel may not take over while it is fitted: it explains the observed sizes as well, and
foretells that the next one scores less."""


@final
class RisingMean(CurveMean):
    """Logarithm of the odds of a score: what guessing has and a power law beside it, below a ceiling.

    y = log o, 1/o = 1/e^ceiling + 1/(e^chance + e^(level + s_N n + s_D d)), with n and d the logarithms of
    size and axis value around their medians. On the scale of log odds sizes differ little while all of them
    guess, by the same per e-fold once they have left it, and less as they come to what no size gets right:
    no plane says all of it.
    """

    def __init__(self, scale: LawScale, *, level: float, spread: float, ends: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale
        self.names = ("chance", "ceiling", "level", "size_slope", "progress_slope")
        self.declare("chance", ends[0], CHANCE_STD)
        self.declare("ceiling", ends[1] + CEILING, CEILING_STD)
        self.declare("level", level, spread)
        self.declare("size_slope", 0.0, SLOPE * spread)
        self.declare("progress_slope", 0.0, SLOPE * spread)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """Logarithm of chance plus what training adds, below the ceiling."""
        size = rows.size - self.scale.size
        progress = rows.progress - self.scale.progress
        chance, ceiling = (value.expand_as(progress) for value in values[:2])
        return between(chance, ceiling, values[2] + values[3] * size + values[4] * progress)


def between(lowest: Tensor, highest: Tensor, power: Tensor) -> Tensor:
    """Log o, 1/o = 1/e^highest + 1/(e^lowest + e^power): of a power between two ends, all shapes alike."""
    return -torch.logaddexp(-highest, -torch.logaddexp(lowest, power))
