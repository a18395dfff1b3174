"""Priors of the parameters of a law on the modelled scale: of finals, and of curves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LawPrior:
    """Priors of the raw parameters of a law.

    Attributes:
        floor: Mean of the floor's logit.
        floor_std: Its standard deviation.
        level_std: Standard deviation of the logarithm of each term at the centre.
        exponent: Median of each exponent.
        exponent_std: Standard deviation of its logarithm.
        below: Share of the smallest loss that the terms at the centre leave to the floor.
        share: Logit of the part that data has in the loss of models without limit, where all runs have one
            length; laws fitted to eight public sets have .12 to .29 at their median length.
        share_std: Its standard deviation.
    """

    floor: float
    floor_std: float
    level_std: float
    exponent: float
    exponent_std: float
    below: float
    share: float = -1.1
    share_std: float = 0.8


FINALS_PRIOR = LawPrior(floor=0.4, floor_std=1.8, level_std=1.6, exponent=0.28, exponent_std=0.5, below=0.6)
"""Finals meet few sizes: what these leave open, exponents as published laws have them decide."""

CURVES_PRIOR = LawPrior(floor=-0.2, floor_std=1.0, level_std=0.8, exponent=0.35, exponent_std=0.3, below=0.3)
"""Every run pins down the data term of curves; a few sizes must not bend the size term to fit it."""
