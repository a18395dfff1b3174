"""Which mean function goes with an output."""

from __future__ import annotations

from torch import Tensor

from probscale.model.bent import BentMean
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
    observed sizes. Logarithms and log odds of scores along curves leave chance and rise. Along other curves
    of scores, which are bounded, the kernel sees them flatten.

    Args:
        transform: Output to the modelled scale.
        scale: Centre.
        y: Modelled values.
        kind: "law" or "plane".
        believed: What is believed of the size term.
    """
    if kind == "law" and isinstance(transform, LogFloor):
        law = LawMean(transform, scale)
        if believed is not None and scale.varies_in_size:
            law.believe(believed(scale))
        return law
    spread = max(float(y.std()), 1e-3) if len(y) > 1 else 1.0
    level, curves = float(y.median()), scale.onset is not None
    if kind != "law" or isinstance(transform, LogFloor):
        return PlaneMean(scale, level=level, spread=spread)
    if curves and isinstance(transform, LogOdds | LogScore):
        return RisingMean(scale, level=level, spread=spread, ends=(float(y.quantile(CHANCE)), float(y.max())))
    straight = curves and not (isinstance(transform, Affine) and transform.upper is None)
    return (PlaneMean if straight else BentMean)(scale, level=level, spread=spread)
