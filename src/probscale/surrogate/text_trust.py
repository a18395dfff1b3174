"""How far texts of labels are trusted once runs of values that the fit did not know are there."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState, solve_exactly
from probscale.model.layout import LabelBlock
from probscale.model.means import Rows
from probscale.model.terms import LabelCorrelation
from probscale.surrogate.unseen import new_values

MOST_RENEWED = 1000
"""Points up to which runs of new values tell how far their texts are to be trusted."""

TRUSTS, PRIOR = np.array([1.0, 0.5, 0.02]), np.array([0.8, 0.1, 0.1])
"""By what shares of texts may be multiplied once runs of a new value are known, and how probable each is."""


@dataclass(frozen=True)
class Renewal:
    """Posteriors with another share of texts.

    Attributes:
        states: One for each state before.
        trust: By what the shares of texts are multiplied since the fit.
    """

    states: tuple[ExactState, ...]
    trust: float


def renewed(states: tuple[ExactState, ...], weights: NDArray[np.float64], trust: float) -> Renewal:
    """Posteriors whose labels rely on texts as far as all observations say, other parameters unchanged.

    At the fit a few values say how alike those of like texts are; runs of a new value say whether it is like
    those its text resembles. The share of texts is multiplied by its posterior mean over `TRUSTS`.

    Args:
        states: Posteriors after further observations.
        weights: Their shares, (states,): the first of the largest decides.
        trust: By what the shares of texts have been multiplied since the fit.

    Cost: O(points³) for each state and each of `TRUSTS`.
    """
    heaviest = states[int(np.argmax(weights))]
    evidence = np.array([_trusting(heaviest, level / trust).log_evidence() for level in TRUSTS])
    share = PRIOR * np.exp(evidence - evidence.max())
    mean = float(share @ TRUSTS / share.sum())
    return Renewal(tuple(_trusting(state, mean / trust) for state in states), mean)


def reads_labels(state: ExactState) -> bool:
    """Whether texts of labels take part."""
    return bool(_texted(state))


def has_new_label(state: ExactState, rows: Rows) -> bool:
    """Whether some row has a value of a label with text that no observation has."""
    return bool(new_values(state, rows, _texted(state)).any())


def _texted(state: ExactState) -> list[LabelBlock]:
    return [block for block in state.process.layout.labels if block.text]


def _trusting(state: ExactState, factor: float) -> ExactState:
    """The posterior with shares of texts multiplied by a factor."""
    process = copy.deepcopy(state.process)
    with torch.no_grad():
        for module in process.modules():
            if isinstance(module, LabelCorrelation) and module.block.text:
                mix = module.get_parameter("mix")
                mix.copy_(torch.logit(torch.sigmoid(mix) * factor))
    return solve_exactly(process, state.data, state.device)
