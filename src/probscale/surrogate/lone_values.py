"""How far values of a level are from the only one that the fit saw, once runs of another are there."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState, solve_exactly
from probscale.model.gp import CurveProcess
from probscale.model.levels import LevelTerm

MOST_TOLD = 1000
"""Points up to which runs of another value tell how far values are apart."""

STEPS = np.linspace(-3.0, 0.0, 5)
"""By how many e-folds their scale may differ from the usual one, which is that of losses of other corpora: a
larger one would let few runs say too much of sizes and lengths that they do not have."""

STEP_STD = 1.0
"""Prior standard deviation of these."""


def told_apart(states: tuple[ExactState, ...], weights: NDArray[np.float64]) -> tuple[ExactState, ...]:
    """Posteriors whose offsets from a lone value have the scale that all observations tell.

    At the fit nothing says how far other values are from the only one seen. The first runs of another do, and
    with it how much its effects may differ elsewhere: little where it is much alike. The
    logarithm of the scale is its posterior mean over `STEPS`.

    Args:
        states: Posteriors after further observations.
        weights: Their shares, (states,): the first of the largest decides.

    Returns:
        The same where no level had a lone value at the fit, no other is there now, or points are too many.

    Cost: O(points³) for each state and each of `STEPS`.
    """
    heaviest = states[int(np.argmax(weights))]
    if len(heaviest.data) > MOST_TOLD or not _told(heaviest.process, heaviest):
        return states
    evidence = np.array([_at(heaviest, step).log_evidence() for step in STEPS])
    evidence = evidence - 0.5 * (STEPS / STEP_STD) ** 2
    share = np.exp(evidence - evidence.max())
    step = float(share @ STEPS / share.sum())
    return tuple(_at(state, step) for state in states)


def _told(process: CurveProcess, state: ExactState) -> list[LevelTerm]:
    """Offsets from values that were the only ones at the fit, where others are observed now."""
    x = state.data.rows.x
    terms = [term for term in process.modules() if isinstance(term, LevelTerm)]
    lone = [term for term in terms if term.correlation.block.lone is not None]
    return [term for term in lone if bool(term.own(x).any())]


def _at(state: ExactState, step: float) -> ExactState:
    """The posterior with scales of offsets from lone values so many e-folds from the usual one."""
    process = copy.deepcopy(state.process)
    with torch.no_grad():
        for term in _told(process, state):
            for name in ("scale", *(("drift",) if term.axis else ())):
                term.get_parameter(name).copy_(getattr(term, f"{name}_prior").loc + step)
    return solve_exactly(process, state.data, state.device)
