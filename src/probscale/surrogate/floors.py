"""Laws that differ in their floor, mixed: few sizes cannot tell a low floor from a slow exponent.

A linearised posterior around one fitted law is too sure of that law's floor. Each member of the mixture has a
floor of its own and the other parameters fitted to it; kernel and noise are shared.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from probscale.model.exact import ExactState, solve_exactly
from probscale.model.gp import CurveProcess
from probscale.model.law_prior import FINALS_PRIOR
from probscale.model.mean_fit import fit_mean
from probscale.model.means import LawMean
from probscale.surrogate.averaging import Mixture, alone
from probscale.surrogate.expert import Expert
from probscale.surrogate.prepare import Prepared
from probscale.surrogate.rows import layout_of

Array = NDArray[np.float64]

FLOORS = {0.15: 0.05, 0.4: 0.2, 0.6: 0.3, 0.75: 0.3, 0.9: 0.15}
"""Floors as shares of the smallest loss, and how often published laws have such."""

FREE = 0.2
"""Share of the law whose floor was fitted with everything else."""

MOST_POINTS = 600
"""Points from which on the sizes of a log pin its law down."""

TEMPER = 4.0
"""Errors of runs alike in size are alike: log evidences are divided by this."""


def with_floors(points: Prepared, state: ExactState) -> Mixture:
    """The fitted law and laws of other floors, weighed by evidence; the law alone where a log is long.

    Args:
        points: What was fitted: finals, one point per run.
        state: Posterior whose mean is a law.

    Cost: O(points³) per floor, without the search for the kernel.
    """
    law = state.process.mean
    if not isinstance(law, LawMean) or len(state.data) > MOST_POINTS or law.scale.onset is not None:
        return alone(state)
    if not law.scale.varies_in_size:
        return alone(state)
    states = tuple(_with_floor(points, state, law, share) for share in FLOORS)
    evidence = np.array([each.log_evidence() for each in states])
    weights = np.array(list(FLOORS.values())) * np.exp((evidence - evidence.max()) / TEMPER)
    return Mixture((state, *states), np.append(FREE, (1 - FREE) * weights / weights.sum()))


def _with_floor(points: Prepared, state: ExactState, law: LawMean, share: float) -> ExactState:
    prior = replace(
        FINALS_PRIOR, floor=math.log(share / (1 - share)), floor_std=0.35, exponent_std=0.4, below=share
    )
    mean = LawMean(law.transform, law.scale, prior)
    mean.believe(law.belief)
    fit_mean(mean, state.data)
    process = CurveProcess(layout_of(points.encoder, points.transform), mean, scale=0.1, noise=0.1)
    process.kernel, process.noise = state.process.kernel, state.process.noise
    return solve_exactly(process, state.data, state.device)


def floors_of(expert: Expert) -> dict[str, float]:
    """Share of each floor among the mixed laws, output units; empty where one law answers."""
    laws = [state.process.mean for state in expert.states if isinstance(state.process.mean, LawMean)]
    if len(laws) < 2:
        return {}
    named = zip(laws, expert.weights, strict=True)
    return {f"{law.described()['E']:.4g}": float(weight) for law, weight in named}
