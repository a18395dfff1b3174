"""The law of losses with its derivatives written out.

A law is a few dozen sums over the rows. On the tape of automatic differentiation they cost several times what
they cost alone, and fits evaluate the law again and again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from probscale.model.means import LawMean, Rows


@torch.no_grad()
def with_slopes(mean: LawMean, values: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """A law of data that nothing says is repeated, and its derivatives by the raw parameters.

    Args:
        mean: The law.
        values: Raw parameters, in the order of its names.
        rows: Where.

    Returns:
        Shapes (rows,) and (rows, parameters).
    """
    scale, raw = mean.scale, mean.natural(values)
    alpha, beta = raw["alpha"], raw["beta"]
    size, fall = rows.size - scale.size, rows.progress - scale.progress
    slopes: dict[str, Tensor] = {}
    onset = later = begun = None
    if scale.onset is not None:
        onset = torch.exp(values[mean.names.index("onset")] + scale.onset - scale.progress)
        sum_ = torch.exp(fall) + onset
        later, fall = onset / sum_, torch.log(sum_) - torch.log1p(onset)
    by_size = raw["A"] * torch.exp(-alpha * size)
    if scale.common and onset is not None and later is not None:
        begun = torch.log(later)
        untrained = torch.exp(beta * begun)
        lost = by_size * untrained
        by_size = by_size - lost
        slopes["onset"] = -beta * lost * (1 - later)
        slopes["progress_exponent"] = -beta * lost * begun
    by_data = raw["B"] * torch.exp(-beta * fall)
    excess = raw["E"] + by_size + by_data - mean.transform.floor
    share = torch.sigmoid(values[mean.names.index("floor")])
    above = (scale.smallest - mean.transform.floor) * share
    slopes["floor"] = above * (1 - share) * torch.ones_like(excess)
    if scale.one_length:
        part, more = torch.sigmoid(values[mean.names.index("progress_share")]), torch.expm1(-beta * fall)
        slopes["floor"] = slopes["floor"] * (1 + part * more)
        slopes["progress_share"] = above * part * (1 - part) * more
    slopes["size_level"], slopes["size_exponent"] = by_size, -alpha * size * by_size
    slopes["progress_level"] = by_data
    slopes["progress_exponent"] = slopes.get("progress_exponent", 0.0) - beta * fall * by_data
    if onset is not None and later is not None:
        slopes["onset"] = slopes.get("onset", 0.0) - beta * by_data * (later - onset / (1 + onset))
    bent, breaks = torch.log(excess), mean.beyond(rows)
    for name, distance in breaks.items():
        bent = bent + values[mean.names.index(name)] * distance
    columns = [breaks[name] if name in breaks else slopes[name] / excess for name in mean.names]
    return bent, torch.stack(columns, dim=1)


def written_out(mean: LawMean, values: Tensor, rows: Rows) -> Tensor:
    """The same law, differentiable once by its raw parameters, (rows,)."""
    result = _Law.apply(values, mean, rows)
    assert isinstance(result, Tensor)
    return result


class _Law(Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, mean: LawMean, rows: Rows) -> Tensor:
        law, slopes = with_slopes(mean, values, rows)
        ctx.save_for_backward(slopes)
        return law

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return grads[0] @ slopes, None, None
