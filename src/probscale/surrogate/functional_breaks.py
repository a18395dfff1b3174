"""How far the law behind the ends of curves may stray beyond the observed sizes and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probscale.model.exact import ExactState
from probscale.model.means import LawMean
from probscale.model.tails import BREAK, SHORT_BREAK
from probscale.surrogate.functional import FunctionalExpert
from probscale.surrogate.functional_sizes import SizeFold


def with_breaks(
    expert: FunctionalExpert, folds: Sequence[SizeFold]
) -> tuple[FunctionalExpert, list[SizeFold]]:
    """The expert, and its folds, with a law that may break beyond what was observed, as that of finals may.

    Many runs of few sizes leave a law no doubt within them; of the next size they say no more than few runs.
    Breaks are as finals have them. Learnt on the sizes that a log can leave out itself, mostly one, they
    foretold 23 sets of larger sizes, longer runs or both, inside the training rows of five sources, a little
    worse.

    Args:
        expert: Whose law does not break.
        folds: Larger sizes as smaller ones foretell them.

    Returns:
        Both as they were where ends follow no law, and where other sources told of sizes: how sources differ
        says already how far the law may be off.
    """
    first, *rest = expert.scores.states
    changed = [replace(fold, states=[_breaking(fold.states[0]), *fold.states[1:]]) for fold in folds]
    return replace(expert, scores=replace(expert.scores, states=(_breaking(first), *rest))), changed


def _breaking(state: ExactState) -> ExactState:
    """A posterior whose law may break: no row that it knows lies beyond, so that it is solved already."""
    law = state.process.mean
    if not isinstance(law, LawMean) or law.belief is not None:
        return state
    law.may_break(BREAK, SHORT_BREAK)
    return replace(state)
