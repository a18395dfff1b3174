"""Which mean function goes with an output."""

from __future__ import annotations

from torch import Tensor

from probscale.model.bent import BentMean
from probscale.model.falling import START, FallingMean
from probscale.model.means import Believed, CurveMean, LawMean, LawScale, PlaneMean
from probscale.model.rising import RisingMean
from probscale.model.transforms import Affine, LogFloor, LogOdds, LogScore, OutputTransform

CHANCE = 0.02
"""Quantile of the modelled scores of curves at which guessing is expected."""


def curve_mean(
    transform: OutputTransform,
    scale: LawScale,
    y: Tensor,
    kind: str = "law",
    believed: Believed | None = None,
) -> CurveMean:
    """Mean function that goes with a transform: a law of losses, else what flattens as laws do, or a plane.

    Scores and signed outputs flatten with size as the loss behind them does: a plane overshoots beyond the
    observed sizes. Logarithms and log odds of scores leave chance and rise along curves. Along curves of
    bounded scores, and where sizes are the same, the kernel sees what there is to see.

    Args:
        transform: Output to the modelled scale.
        scale: Centre.
        y: Modelled values.
        kind: "law", "falling" (losses that span decades: a product of powers) or "plane".
        believed: What is believed of the size term.
    """
    if kind == "law" and isinstance(transform, LogFloor):
        law = LawMean(transform, scale)
        if believed is not None and scale.varies_in_size:
            law.believe(believed(scale))
        return law
    spread = max(float(y.std()), 1e-3) if len(y) > 1 else 1.0
    level, sizes = float(y.median()), scale.varies_in_size
    if kind == "falling":
        return FallingMean(scale, level=level, spread=spread, ends=(float(y.min()), float(y.quantile(START))))
    if kind != "law" or isinstance(transform, LogFloor):
        return PlaneMean(scale, level=level, spread=spread)
    if scale.onset is None:
        return BentMean(scale, level=level, spread=spread)
    if sizes and isinstance(transform, LogOdds | LogScore):
        ends = (float(y.quantile(CHANCE)), float(y.max()))
        return RisingMean(scale, level=level, spread=spread, ends=ends)
    flattens = sizes and isinstance(transform, Affine) and transform.upper is None
    return (BentMean if flattens else PlaneMean)(scale, level=level, spread=spread)
