"""Terms of the covariance of curves: shared, per label, per run.

All kernels read rows laid out by `Layout`. Raw parameters are logarithms with normal priors, so that the
maximum a posteriori fit is regularised wherever the data say nothing.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from gpytorch.kernels import Kernel
from torch import Tensor

from probscale.model.gradients import additive_covariance, still_covariance, still_product
from probscale.model.labels import by_value, matern_by_place
from probscale.model.layout import LabelBlock, Layout
from probscale.model.lines import line_covariance
from probscale.model.matern import matern52, scaled_matern, squared_distances
from probscale.model.priors import UNTOLD, UNTOLD_STD, declare
from probscale.model.row_cache import cached
from probscale.model.shift import SizeShift

TREND = math.log(0.3)
"""Prior logarithm of the trend of an effect, per coordinate, beside its smooth part."""

SIZE_RESERVE = 1.4
"""How much smaller, in e-folds, the main effects of sizes are expected to be."""

RELEVANCE, APART = 0.0, -3.0
"""Prior logit of the share of task deviations that labels tell apart, and where one value was seen."""

MIX, MIX_STD = 0.0, 1.5
"""Prior of the logit of the share that texts have in the likeness of two labels."""

NEAR = 0.6
"""Prior distance at which texts are near, in root mean squares of the distance to their mean."""


class LogParameterKernel(Kernel):
    """A kernel whose raw parameters carry normal priors and whose covariances are dense.

    Where parameters are learnt, gradients are those of `gradients`; a kernel whose parameters are frozen, to
    differentiate with respect to rows or to map over batches, is left to automatic differentiation.
    """

    @property
    def learnt(self) -> bool:
        """Whether any parameter is learnt."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def declare(
        self, name: str, start: float | Tensor, mean: float | Tensor, std: float, size: int = 1
    ) -> None:
        """Register parameter `name` of `size` numbers, with its starting value and its prior."""
        declare(self, name, torch.as_tensor(start, dtype=torch.float64).expand(size), mean, std)

    def __call__(self, x1: Tensor, x2: Tensor | None = None, diag: bool = False, **params: Any) -> Tensor:
        """Dense covariance (rows, rows), or its diagonal."""
        covariance = self.forward(x1, x1 if x2 is None else x2, diag=diag)
        assert isinstance(covariance, Tensor)
        return covariance


class AxisKernel(LogParameterKernel):
    """A kernel with a part that varies along the axis, over the columns `axis`."""

    axis: tuple[int, ...]

    def along(self, name: str, x1: Tensor, x2: Tensor, variance: Tensor | None = None) -> Tensor:
        """Matérn-5/2 covariance along the axis; parameter `name` holds its lengthscales."""
        raw = self.get_parameter(name)
        width = torch.exp(raw)
        variance = width.new_ones(()) if variance is None else variance
        return matern_by_place(x1, x2, self.axis, width, variance, raw.requires_grad)


class LabelCorrelation(LogParameterKernel):
    """Correlation of two labels: a mix of equality and closeness of their texts.

    R = (1 - mix) 1(same label) + mix exp(-|t - t'|² / 2ℓ²); without text, equality alone. A label never seen
    in the fit is then an ordinary input, near the labels whose texts resemble its own.
    """

    def __init__(self, block: LabelBlock) -> None:
        super().__init__()
        self.block = block
        if block.text:
            self.declare("mix", MIX, MIX, MIX_STD)
            self.declare("text_scale", math.log(NEAR), math.log(NEAR), 0.5)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Correlations of the labels of two sets of rows."""
        if diag:
            return x1.new_ones(x1.shape[0])
        same = (x1[:, self.block.code, None] == x2[None, :, self.block.code]).to(x1.dtype)
        if not self.block.text:
            return same
        mix = torch.sigmoid(self.get_parameter("mix"))
        columns = list(self.block.text)
        squared = squared_distances(x1[:, columns], x2[:, columns])
        close = torch.exp(-0.5 * squared / torch.exp(2 * self.get_parameter("text_scale")))
        return (1 - mix) * same + mix * close


class SharedTerm(LogParameterKernel):
    """Matérn-5/2 over all coordinates: what every task has in common."""

    def __init__(self, layout: Layout, shift: SizeShift, *, scale: float) -> None:
        super().__init__()
        self.shift = shift
        self.declare("scale", math.log(scale / 2), math.log(scale), 1.0)
        self.declare("width", math.log(4.0), math.log(4.0), 0.8, len(layout.continuous))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Scaled Matérn covariance."""
        variance = torch.exp(2 * self.get_parameter("scale"))
        if diag:
            return variance.expand(x1.shape[0])
        raw = self.get_parameter("width")
        width = torch.exp(raw)
        squared = self.shift.squared(x1, x2, range(len(width))) if raw.requires_grad else None
        if squared is not None:
            return still_covariance(squared, width, variance)
        return scaled_matern(self.shift(x1) / width, self.shift(x2) / width, variance, raw.requires_grad)


class AdditiveTerm(LogParameterKernel):
    """One Matérn-5/2 per configuration coordinate.

    What width does at one depth it then does at another: effects learnt along the margins of a grid carry
    over to its corners.

    Source: functional analysis of variance, e.g. Durrande et al. 2012, truncated at main effects.
    """

    def __init__(self, layout: Layout, shift: SizeShift, *, scale: float) -> None:
        super().__init__()
        self.shift = shift
        self.columns = range(len(layout.continuous))
        # Sizes have the law already: a second trend of their own must earn its place.
        centre = torch.full((len(self.columns),), math.log(scale), dtype=torch.float64)
        centre[list(layout.sizes)] -= SIZE_RESERVE
        self.declare("scale", centre - math.log(2.0), centre, 0.7, len(self.columns))
        self.declare("width", math.log(4.0), math.log(4.0), 0.8, len(self.columns))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Sum over coordinates of their covariance."""
        variance = torch.exp(2 * self.get_parameter("scale"))
        if diag:
            return variance.sum().expand(x1.shape[0])
        raw = self.get_parameter("width")
        z1, z2 = self.shift(x1) / torch.exp(raw), self.shift(x2) / torch.exp(raw)
        if raw.requires_grad:
            return additive_covariance(z1, z2, variance)
        parts = [
            weight * matern52((z1[:, column, None] - z2[None, :, column]).square())
            for column, weight in zip(self.columns, variance, strict=True)
        ]
        return sum(parts[1:], parts[0])


class AnovaTerm(AxisKernel):
    """Functional analysis of variance: every subset of configuration coordinates, varying along the axis.

    s² Π_j (1 + a_j² [M(z_j) + b_j² z_j z'_j]) / (1 + a_j²) × M(axis): what width does at one depth it then
    does, in part, at another; effects learnt along the margins of a grid carry over to its corners, and its
    trends go on beyond what was seen. Elsewhere b = 0: few scattered runs take accidents for trends.

    Source: Durrande et al. 2012, eq. 7, with Matérn-5/2 and linear factors.
    """

    def __init__(self, layout: Layout, shift: SizeShift, *, scale: float) -> None:
        super().__init__()
        self.shift = shift
        self.axis = layout.axis
        self.columns = [i for i in range(len(layout.continuous)) if i not in layout.axis]
        self.declare("scale", math.log(scale), math.log(scale), 1.0)
        self.declare("weight", 0.0, 0.0, 1.0, len(self.columns))
        self.declare("width", math.log(4.0), math.log(4.0), 0.8, len(self.columns))
        self.trending = layout.is_small_grid
        if self.trending:
            self.declare("trend", TREND, TREND, 1.0, len(self.columns))
        self.declare("axis_width", 0.0, 0.0, 0.7, len(layout.axis))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Scaled product over coordinates."""
        variance = torch.exp(2 * self.get_parameter("scale"))
        trends = self.trends()
        if diag:
            z = self.shift(x1)[:, self.columns] * trends
            return variance * (1 + torch.sigmoid(2 * self.get_parameter("weight")) * z.square()).prod(dim=1)
        total = self.along("axis_width", x1, x2, variance)
        columns, raw = list(self.columns), self.get_parameter("width")
        widths = torch.exp(raw)
        shares = torch.sigmoid(2 * self.get_parameter("weight"))
        still = raw.requires_grad and not self.trending
        squared = self.shift.squared(x1, x2, columns) if still else None
        if squared is not None:
            return still_product(total, squared, widths, shares)
        z1, z2 = (self.shift(x)[:, columns] / widths for x in (x1, x2))
        for j, share in enumerate(shares):
            part = scaled_matern(z1[:, [j]], z2[:, [j]], share, raw.requires_grad)
            if self.trending:
                steep = trends[j] * widths[j]
                part = part + share * torch.outer(steep * z1[:, j], steep * z2[:, j])
            total = total * (part + (1 - share))
        return total

    def trends(self) -> Tensor:
        """Slope b of each coordinate, zero where there are no trends, (coordinates,)."""
        width = self.get_parameter("width")
        return torch.exp(self.get_parameter("trend")) if self.trending else torch.zeros_like(width)


class AxisTerm(AxisKernel):
    """What all curves do along the axis beyond their mean, whatever their configuration."""

    def __init__(self, layout: Layout, *, scale: float) -> None:
        super().__init__()
        self.axis = layout.axis
        self.declare("scale", math.log(scale / 2), math.log(scale), 1.0)
        self.declare("width", math.log(0.7), math.log(0.7), 0.7, len(layout.axis))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Matérn covariance along the axis."""
        variance = torch.exp(2 * self.get_parameter("scale"))
        if diag:
            return variance.expand(x1.shape[0])
        return self.along("width", x1, x2, variance)


class TaskTerm(LogParameterKernel):
    """Matérn-5/2 over all coordinates, correlated over labels: how tasks deviate from what they share.

    Each label enters as (1 - relevance) + relevance · R, so that labels that do not matter are switched off.
    """

    def __init__(
        self, layout: Layout, shift: SizeShift, labels: list[LabelCorrelation], *, scale: float
    ) -> None:
        super().__init__()
        labels = [label for label in labels if not label.block.mirrored]
        self.matern = SharedTerm(layout, shift, scale=scale)
        self.labels = torch.nn.ModuleList(labels)
        self.blocks = [label.block for label in labels]
        if labels:
            lone = torch.tensor([block.lone is not None for block in self.blocks])
            start, centre = (torch.where(lone, APART, each).double() for each in (1.5, RELEVANCE))
            self.declare("relevance", start, centre, 1.5, len(labels))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Product of the Matérn covariance and the label correlations."""
        covariance = self.matern(x1, x2, diag=diag)
        if diag or not len(self.labels):
            return covariance
        return covariance * by_value(self._alike, self.blocks, x1, x2, self.learnt)

    def _alike(self, x1: Tensor, x2: Tensor) -> Tensor:
        """How alike the labels of two sets of rows are, all together."""
        relevance = torch.sigmoid(self.get_parameter("relevance"))
        pairs = zip(relevance, self.labels, strict=True)
        parts = [1 - weight + weight * label(x1, x2) for weight, label in pairs]
        return functools.reduce(torch.mul, parts)


class RunTerm(AxisKernel):
    """Deviation of each run from what its configuration says: an offset plus a curve of its own.

    Each value that was not given adds to the offset what it would have told: runs whose learning rate nobody
    wrote down differ by what the rate does, and are no more alike than that. Where the fit knew of no such
    values, runs that came later without them stray along a straight line besides.

    Attributes:
        fresh: Whether runs that were never observed, those with negative codes, deviate too.
        untold: Columns that mark values that were not given.
        strays: Codes of runs that came later with values not given, and what that adds: variance of the
            level at axis coordinate zero, its covariance with the slope, variance of the slope, (runs, 4).
    """

    strays: Tensor

    def __init__(self, layout: Layout, *, scale: float) -> None:
        super().__init__()
        self.fresh = True
        if layout.run is None:
            raise ValueError("a run term needs a run column")
        self.run = layout.run
        self.axis = layout.axis
        self.declare("scale", math.log(scale / 2), math.log(scale), 1.0)
        self.declare("drift", math.log(scale / 2), math.log(scale), 1.0)
        self.declare("width", math.log(1.0), math.log(1.0), 0.7, len(layout.axis))
        self.untold = layout.untold
        self.register_buffer("strays", torch.zeros(0, 4, dtype=torch.float64), persistent=False)
        if self.untold:
            usual = math.log(UNTOLD * scale / math.sqrt(len(self.untold)))
            self.declare("hidden", usual, usual, UNTOLD_STD, len(self.untold))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Covariance within runs, zero between them."""
        drift = torch.exp(2 * self.get_parameter("drift"))
        if diag:
            own = self.offset(x1) + drift
            if len(self.strays):
                at = x1[:, self.axis[0]]
                own = own + line_covariance(self._lines(x1), at, at)
            return own * self._deviates(x1).to(x1.dtype)
        own = self.offset(x1)[:, None] + self.along("width", x1, x2, drift)
        if len(self.strays):
            first, second = x1[:, self.axis[0], None], x2[None, :, self.axis[0]]
            own = own + line_covariance(self._lines(x1)[:, None], first, second)
        return self._same(x1, x2) * own

    def _lines(self, x: Tensor) -> Tensor:
        """What `strays` says of the run of each row, zero of others, (rows, 3)."""
        table = self.strays.to(x.device)
        return (x[:, self.run, None] == table[:, 0]).to(x.dtype) @ table[:, 1:]

    def offset(self, x: Tensor) -> Tensor:
        """Variance of the offset of each row's run, (rows,), or (1,) where all have the same."""
        constant = torch.exp(2 * self.get_parameter("scale"))
        if not self.untold:
            return constant
        missing = (x[:, list(self.untold)] != 0.0).to(x.dtype)
        return constant + missing @ torch.exp(2 * self.get_parameter("hidden"))

    def _same(self, x1: Tensor, x2: Tensor) -> Tensor:
        """One where rows are of one run, and it deviates, (rows, rows)."""

        def find() -> Tensor:
            same = (x1[:, self.run, None] == x2[None, :, self.run]) & self._deviates(x1)[:, None]
            return same.to(x1.dtype)

        return cached(x1, ("same", self.run, self.fresh), find) if x1 is x2 else find()

    def _deviates(self, x: Tensor) -> Tensor:
        """Which rows belong to runs that deviate, (rows,)."""
        return x[:, self.run] >= (-math.inf if self.fresh else 0.0)
