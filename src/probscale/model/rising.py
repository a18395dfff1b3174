"""A mean for curves of scores that stay at chance for a while, rise, and come to an end below the best."""

from __future__ import annotations

from typing import ClassVar, final

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


class PowerBetween(CurveMean):
    """A power law of size and axis between two ends, on a logarithmic scale.

    Up from its start to its limit, y = log o, 1/o = 1/e^limit + 1/(e^start + e^(level + s_N n + s_D d)), with
    n and d the logarithms of size and axis value around their medians; down, the same of -y.

    Attributes:
        ends: Names of the parameters of start and limit.
        sign: 1 where it rises, -1 where it falls.
    """

    ends: ClassVar[tuple[str, str]]
    sign: ClassVar[float]

    def __init__(self, scale: LawScale, *, level: float, spread: float, ends: tuple[float, float]) -> None:
        super().__init__()
        self.scale = scale
        self.names = (*self.ends, "level", "size_slope", "progress_slope")
        start, limit = ends if self.sign > 0 else ends[::-1]
        self.declare(self.ends[0], start, CHANCE_STD)
        self.declare(self.ends[1], limit + self.sign * CEILING, CEILING_STD)
        self.declare("level", level, spread)
        self.declare("size_slope", 0.0, SLOPE * spread)
        self.declare("progress_slope", 0.0, SLOPE * spread)

    def evaluate(self, values: Tensor, rows: Rows) -> Tensor:
        """What the start and the power law have together, short of the limit."""
        size = rows.size - self.scale.size
        progress = rows.progress - self.scale.progress
        start, limit = (self.sign * value.expand_as(progress) for value in values[:2])
        power = self.sign * (values[2] + values[3] * size + values[4] * progress)
        return -self.sign * torch.logaddexp(-limit, -torch.logaddexp(start, power))


@final
class RisingMean(PowerBetween):
    """Logarithm of the odds of a score: what guessing has and a power law beside it, below a ceiling.

    On the scale of log odds sizes differ little while all of them guess, by the same per e-fold once they
    have left it, and less as they come to what no size gets right: no plane says all of it.
    """

    ends = ("chance", "ceiling")
    sign = 1.0
