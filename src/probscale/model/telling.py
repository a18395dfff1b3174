"""What the points of a run say about its configuration: less where the run strays, or is unstable."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.model.basis import UNSTABLE, Basis
from probscale.model.scores import Sites, sites_of
from probscale.model.straying import (
    NEGLIGIBLE,
    Prefix,
    RunDeviations,
    kinds_given,
    settled,
    shown_by,
    telling,
)

Array = NDArray[np.float64]


def told_by(
    basis: Basis,
    runs: RunDeviations,
    seen: Prefix,
    mean: Array,
    variance: Array,
    deviation: Array,
) -> Sites:
    """What one run says about the scores of its configuration.

    Each kind of run gives a site of its own: one that strays far, or whose points are rough, says little.
    Precisions add up by the shares of the kinds given the points, which count as far as prefixes are trusted.

    Args:
        basis: Basis functions and remainder.
        runs: How runs stray.
        seen: Observed points of the run.
        mean: Scores expected from the other runs, (scores,).
        variance: Their variances, (scores,).
        deviation: Variance of a run's scores around them, (scores,).

    Returns:
        Sites of one run, (1, scores), to which `deviation` comes on top.
    """
    every = shown_by(basis, *telling(basis, seen))
    prior = variance + deviation
    weights = kinds_given(runs, every, mean, prior)
    still = settled(basis, *seen)
    if not still.all():
        every = shown_by(basis, *seen.take(still))
    calm, unstable = (part.tempered(runs.trust) for part in every)
    precision, moment = np.zeros(len(mean)), np.zeros(len(mean))
    for (scale, rough), weight in zip(runs.kinds, weights, strict=True):
        if weight < NEGLIGIBLE:
            continue
        points = unstable if rough >= UNSTABLE else calm
        own = np.maximum((runs.root(prior, scale) ** 2).sum(1) - variance, deviation)
        told = points.precision / rough**2, points.moment / rough**2
        site = sites_of(*(part[None] for part in (*told, mean, variance + own)))
        share = weight / (own + site.variance[0])
        precision += share
        moment += share * site.location[0]
    left = np.maximum(1 / precision - deviation, 1e-12)
    return Sites((moment / precision)[None], left[None])
