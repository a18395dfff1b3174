"""Which mean function goes with an output."""

from __future__ import annotations

from torch import Tensor

from probscale.model.bent import BentMean
from probscale.model.means import Believed, CurveMean, LawMean, LawScale, PlaneMean
from probscale.model.transforms import LogFloor, OutputTransform


def curve_mean(
    transform: OutputTransform,
    scale: LawScale,
    y: Tensor,
    kind: str = "law",
    believed: Believed | None = None,
) -> CurveMean:
    """Mean function that goes with a transform: a law of losses, a bent plane of other finals, or a plane.

    Scores and signed outputs flatten with size as the loss behind them does: a plane overshoots beyond the
    observed sizes. Along curves the kernel sees them flatten.

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
    straight = kind != "law" or isinstance(transform, LogFloor) or scale.onset is not None
    mean = PlaneMean if straight else BentMean
    return mean(scale, level=float(y.median()), spread=max(float(y.std()), 1e-3) if len(y) > 1 else 1.0)
