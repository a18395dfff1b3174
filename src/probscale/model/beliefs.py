"""What sources with several model sizes let one believe about a source with few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from probscale.model.exact import ExactState
from probscale.model.means import LawMean, LawScale, SizeBelief

BETWEEN = 0.07
"""Standard deviation, between sources of one log, of the logarithms of the size term and of its exponent.
Robust laws of the sources of three public logs (three, two and six) differ by .01, .05 and .08 in the
logarithm of the slope alpha A N^-alpha (as a share of loss by .03, .13 and .12) and by .06, .01 and .05 in
that of alpha."""


@dataclass(frozen=True)
class SizeTerm:
    """The term A N^-alpha of a fitted law.

    Attributes:
        size: Logarithm of the model size at its centre.
        level: Logarithm of the term there.
        exponent: Logarithm of alpha.
        typical: Typical loss.
        slope_std: Standard deviation of the logarithm of alpha A N^-alpha there.
    """

    size: float
    level: float
    exponent: float
    typical: float
    slope_std: float

    def level_at(self, scale: LawScale) -> float:
        """Logarithm of the term at the centre of another law."""
        return self.level - math.exp(self.exponent) * (scale.size - self.size)

    def variance_at(self, scale: LawScale) -> float:
        """Variance of that for another source; where losses differ by factors, units may differ too."""
        unlike = math.log(scale.typical / self.typical) ** 2
        return self.slope_std**2 + BETWEEN**2 + unlike**2


def size_term_of(state: ExactState) -> SizeTerm | None:
    """The size term of the law behind a posterior; None without one."""
    law = state.process.mean
    if not isinstance(law, LawMean) or not {"size_level", "size_exponent"} <= set(law.names):
        return None
    which = [law.names.index(name) for name in ("size_level", "size_exponent")]
    values = law.values().detach()[which]
    _, std = law.prior()
    slopes = state.slopes
    told = slopes.mT @ state.factor.solve(slopes)
    covariance = (torch.eye(len(std), dtype=std.dtype) - told.cpu()) * std * std[:, None]
    slope = float(covariance[np.ix_(which, which)].sum().clamp_min(0.0).sqrt())
    return SizeTerm(law.scale.size, float(values[0]), float(values[1]), law.scale.typical, slope)


def believed(terms: Sequence[SizeTerm], scale: LawScale) -> SizeBelief:
    """Belief about the size term of another source of the same log.

    Level and exponent of a fitted term trade off against each other; what is well known is their product, the
    slope. Its spread goes to the level, that of the exponent is how sources differ.

    Args:
        terms: Terms of sources with more sizes, at least one.
        scale: Centre of its law.

    Source: partial pooling, e.g. Gelman et al. 2013, chapter 5, between sources as in public logs.
    """
    share = 1 / np.array([term.variance_at(scale) for term in terms])
    level = np.average([term.level_at(scale) for term in terms], weights=share)
    exponent = np.average([term.exponent for term in terms], weights=share)
    level_std = math.sqrt(1 / share.sum() + BETWEEN**2)
    return SizeBelief(float(level), float(exponent), level_std, BETWEEN * math.sqrt(1 + 1 / len(terms)))
