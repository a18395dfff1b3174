"""Terms of the values of levels and labels: what each adds to its runs."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor

from probscale.model.labels import by_value
from probscale.model.layout import LabelBlock, Layout
from probscale.model.matern import scaled_matern
from probscale.model.terms import AxisKernel, LabelCorrelation

TILT, CURVES_TILT = (0.15, 3.0), (0.6, 2.0)
"""How far the offset of a value from the only one seen varies with all else, as a share of its scale, and
over how many standard deviations, for finals and for curves; chosen on training rows of eleven logs
(`benchmarks/results/general_curves.md`)."""


class OffsetTerm(AxisKernel):
    """Offsets that some labels bring to their runs, constant or slowly varying along the axis.

    Attributes:
        blocks: Labels that the offsets depend on.
    """

    blocks: tuple[LabelBlock, ...]

    def declare_offsets(self, layout: Layout, scale: float) -> None:
        """Register the scale of offsets and, for curves, how far and how fast they drift."""
        self.axis = layout.axis
        self.declare("scale", math.log(scale / 2), math.log(scale), 1.0)
        if layout.axis:
            self.declare("drift", math.log(scale / 2), math.log(scale), 1.0)
            self.declare("width", math.log(2.0), math.log(2.0), 0.7, len(layout.axis))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Likeness of labels times a constant plus a Matérn covariance along the axis."""
        constant = torch.exp(2 * self.get_parameter("scale"))
        drift = torch.exp(2 * self.get_parameter("drift")) if self.axis else torch.zeros_like(constant)
        if diag:
            return (constant + drift) * self.own(x1)
        if not self.axis:
            return by_value(lambda a, b: constant * self.alike(a, b), self.blocks, x1, x2, self.learnt)
        alike = by_value(self.alike, self.blocks, x1, x2, self.learnt)
        return (constant + self.along("width", x1, x2, drift)) * alike

    def alike(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance of unit offsets of two sets of rows, (rows, rows)."""
        raise NotImplementedError

    def own(self, x: Tensor) -> Tensor:
        """Variance of the unit offset of each row, (rows,)."""
        raise NotImplementedError


@final
class LevelTerm(OffsetTerm):
    """Offset of each label, or from its only value seen.

    How far other values than the only one are from it at other sizes, lengths and settings is then part of
    their offset: no known values have told it.
    """

    def __init__(self, layout: Layout, correlation: LabelCorrelation, *, scale: float) -> None:
        super().__init__()
        self.correlation = correlation
        self.blocks = (correlation.block,)
        self.declare_offsets(layout, scale)
        alone = correlation.block.lone is not None
        self.coordinates = list(range(len(layout.continuous))) if alone else []

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Covariance of offsets; beside a lone value also of how they vary with all else."""
        offsets = super().forward(x1, x2, diag=diag, **params)
        if not self.coordinates or (self.learnt and not bool(self.own(x1).any())):
            return offsets
        variance = torch.exp(2 * self.get_parameter("scale"))
        if diag:
            return offsets + self.tilted[0] ** 2 * variance * self.own(x1)
        return offsets + variance * self.tilt(x1, x2) * self.alike(x1, x2)

    def tilt(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Covariance of how unit offsets from a lone value vary with all else, (rows, rows)."""
        share, width = self.tilted
        one, other = (x[:, self.coordinates] / width for x in (x1, x2))
        return scaled_matern(one, other, one.new_tensor(share**2), False)

    @property
    def tilted(self) -> tuple[float, float]:
        """Standard deviation and width of that."""
        return CURVES_TILT if self.axis else TILT

    def alike(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Correlation of labels; zero at the only value seen."""
        alike = self.correlation(x1, x2)
        if self.correlation.block.lone is None:
            return alike
        return alike * torch.outer(self.own(x1), self.own(x2))

    def own(self, x: Tensor) -> Tensor:
        """One where a row has an offset, zero at the only value seen, which the mean describes."""
        block = self.correlation.block
        return (x[:, block.code] != (math.nan if block.lone is None else block.lone)).to(x.dtype)


@final
class MemberTerm(OffsetTerm):
    """What a value brings in whichever of two levels it stands: who reads a language badly writes it badly.

    Beside it each level has offsets of its own, so that actor and partner effects are correlated, not equal.

    Source: the social relations model, Warner, Kenny and Stoto 1979, eq. 1.
    """

    def __init__(self, layout: Layout, levels: tuple[LabelBlock, LabelBlock], *, scale: float) -> None:
        super().__init__()
        self.blocks = levels
        self.declare_offsets(layout, scale)

    def alike(self, x1: Tensor, x2: Tensor) -> Tensor:
        """How many values two rows have in common, in either place, over that of a row with itself."""
        ones, others = ([x[:, block.code] for block in self.blocks] for x in (x1, x2))
        pairs = [one[:, None] == other for one in ones for other in others]
        return sum((pair.to(x1.dtype) for pair in pairs[1:]), pairs[0].to(x1.dtype)) / 2

    def own(self, x: Tensor) -> Tensor:
        """One, and two where both levels have the same value."""
        first, second = (x[:, block.code] for block in self.blocks)
        return 1.0 + (first == second).to(x.dtype)
