"""Which sources of a log inform the law of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from probscale.model.beliefs import believed, size_term_of
from probscale.model.exact import ExactState
from probscale.model.means import Believed
from probscale.runs import RunLog
from probscale.surrogate.curves import CurveExpert
from probscale.surrogate.expert import Expert
from probscale.surrogate.functional import FunctionalExpert

MOST_SIZES = 3
"""Model sizes up to which floor and exponent of a law are all but unidentified."""


def sizes_of(log: RunLog) -> int:
    """Number of model sizes of a log, alike to a hundredth; zero without the role."""
    name = log.roles.params
    if name is None:
        return 0
    size = log.configs[name].to_numpy(dtype=np.float64, na_value=np.nan)
    return len(np.unique(np.round(np.log(size[size > 0]), 2)))


@dataclass(frozen=True)
class Background:
    """What is known before the runs of a source are fitted.

    Attributes:
        before: What was fitted to fewer of them.
        believed: What other sources say of the size term of their law.
        donors: Names of these sources.
        beside: What was fitted to further outputs of fewer of them, by output.
    """

    before: CurveExpert | None = None
    believed: Believed | None = None
    donors: tuple[str, ...] = ()
    beside: Mapping[str, CurveExpert] = field(default_factory=dict)


NOTHING = Background()


def given_to(
    log: RunLog, before: CurveExpert | None, others: Mapping[str, tuple[RunLog, CurveExpert]]
) -> Background:
    """What is known before the runs of a source are fitted.

    The laws of sources of more than three model sizes inform one of three or fewer.

    Args:
        log: Runs of the source.
        before: What was fitted to fewer of them.
        others: Runs of other sources, and what was fitted to them.
    """
    if not 0 < sizes_of(log) <= MOST_SIZES:
        return Background(before)
    terms = {}
    for name, (other, expert) in others.items():
        state = _leading(expert)
        term = size_term_of(state) if state is not None and sizes_of(other) > MOST_SIZES else None
        if term is not None:
            terms[name] = term
    if not terms:
        return Background(before)
    return Background(before, partial(believed, list(terms.values())), tuple(terms))


def _leading(expert: CurveExpert) -> ExactState | None:
    """Posterior whose mean is the law of a whole run's end."""
    if isinstance(expert, FunctionalExpert):
        return expert.scores.states[0]
    return expert.states[0] if isinstance(expert, Expert) else None
