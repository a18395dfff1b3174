"""Covariance of curves: shared, per label, per run, each a product of a configuration and a progress part.

All kernels read rows laid out by `Layout`. Raw parameters are logarithms with normal priors, so that the
maximum a posteriori fit is regularised wherever the data say nothing.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from gpytorch.kernels import Kernel
from gpytorch.priors import NormalPrior
from torch import Tensor

from probscale.model.layout import Layout
from probscale.model.levels import LevelTerm, MemberTerm
from probscale.model.shift import SizeShift
from probscale.model.terms import (
    AdditiveTerm,
    AnovaTerm,
    AxisTerm,
    LabelCorrelation,
    LogParameterKernel,
    RunTerm,
    SharedTerm,
    TaskTerm,
)
from probscale.model.waning import Waning

MOST_ADDITIVE = 8
"""Most configuration coordinates that get a main effect of their own."""

LONE = 0.15
"""Prior scale of how values of a level differ from the only one seen: losses of tasks differ by tens of per
cent, and nothing in the data says otherwise."""

FEW = 0.025
"""Least prior scale of any level: two values that agree do not promise that a third will."""

SHIFT_STD = 0.3
"""Prior standard deviation of how far the best value of a coordinate moves per unit of a size."""

GROWTH, GROWTH_STD = 0.3, 0.3
"""Prior of how fast deviations of scores grow along the standardised axis."""

PLATEAU, PLATEAU_STD = 0.8, 0.5
"""Prior of the standardised axis value from which on they grow no more: scores that start at nothing have
come apart once all have left it."""

TURN = 5.0
"""How sharply growth ends, per unit of the standardised axis."""


class CurveKernel(LogParameterKernel):
    """Sum of the terms of the hierarchy: shared → task → level → run.

    Source: the two levels of Ma, Leroy and Álvarez 2023 with observed instead of latent task inputs.
    """

    def __init__(self, layout: Layout, *, scale: float = 0.2) -> None:
        super().__init__()
        shift = SizeShift(layout)
        shift.slope.requires_grad_(shift.slope.numel() > 0)
        correlations = [LabelCorrelation(block) for block in layout.labels]
        terms: list[Kernel] = [
            AnovaTerm(layout, shift, scale=scale)
            if layout.has_few_coordinates
            else SharedTerm(layout, shift, scale=scale),
            TaskTerm(layout, shift, correlations, scale=scale / 2),
        ]
        terms += [
            LevelTerm(
                layout, correlation, scale=max(scale / 2, FEW * block.level, LONE * (block.lone is not None))
            )
            for block, correlation in zip(layout.labels, correlations, strict=True)
        ]
        terms += [MemberTerm(layout, levels, scale=scale / 2) for levels in layout.sharing]
        if not layout.axis and 2 <= len(layout.continuous) <= MOST_ADDITIVE:
            terms.append(AdditiveTerm(layout, shift, scale=scale / 4))
        if layout.axis:
            terms.append(AxisTerm(layout, scale=scale / 2))
        if layout.run is not None:
            terms.append(RunTerm(layout, scale=scale / 10))
        self.shift = shift
        self.terms = torch.nn.ModuleList(terms)
        self.amplitude_axis: tuple[int, ...] = layout.axis[:1] if layout.growth or layout.wanes else ()
        if layout.growth:
            self.declare("growth", GROWTH, GROWTH, GROWTH_STD)
            self.declare("plateau", PLATEAU, PLATEAU, PLATEAU_STD)
        self.waning = Waning(layout.wanes) if layout.wanes else None
        if shift.slope.numel():
            zero, std = (torch.tensor(value, dtype=torch.float64) for value in (0.0, SHIFT_STD))
            self.register_prior("shift_prior", NormalPrior(zero, std), lambda module: module.shift.slope)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Sum over the terms."""
        parts = [term(x1, x2, diag=diag) for term in self.terms]
        if self.amplitude_axis:
            first, second = self.amplitude(x1), self.amplitude(x2)
            scale = first * second if diag else first[:, None] * second
            pairs = zip(parts, self.terms, strict=True)
            parts = [part if isinstance(term, AxisTerm) else scale * part for part, term in pairs]
        return torch.stack(parts).sum(0) if diag else functools.reduce(torch.add, parts)

    def amplitude(self, x: Tensor) -> Tensor:
        """Factor on standard deviations of all terms but that along the axis, (rows,); one if stationary."""
        if not self.amplitude_axis:
            return x.new_ones(len(x))
        axis = x[:, self.amplitude_axis[0]]
        if self.waning is not None:
            return self.waning(axis)
        v = axis.clamp(-3, 3)
        past = torch.nn.functional.softplus(v - self.get_parameter("plateau"), beta=TURN)
        return torch.exp(self.get_parameter("growth") * (v - past))
