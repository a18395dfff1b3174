"""Population level, as mixed models call it: new runs without a deviation of their own."""

from __future__ import annotations

import copy
from dataclasses import replace

from probscale.model.exact import ExactState
from probscale.model.terms import RunTerm
from probscale.surrogate.curves import CurveExpert, CurveSurrogate
from probscale.surrogate.expert import Expert


def population_level(surrogate: CurveSurrogate) -> CurveSurrogate:
    """The surrogate, whose new runs do what their configuration says, neither luckier nor unluckier.

    Draws of many new runs differ by what sets single runs apart, such as their seeds; the best of many such
    draws owes something to luck, which no choice of a configuration can repeat. Runs of the log keep what is
    known of them. Engines other than the exact one learn no such deviation apart from their scores and stay
    as they are. Settings that configurations leave out are the same in all of them. The result is for
    questions; it is not meant to be saved.
    """
    experts = {name: _without_run_effect(expert) for name, expert in surrogate.experts.items()}
    return replace(surrogate, experts=experts, together=True)


def _without_run_effect(expert: CurveExpert) -> CurveExpert:
    if not isinstance(expert, Expert):
        return expert
    return replace(expert, states=tuple(map(_without_deviation, expert.states)))


def _without_deviation(state: ExactState) -> ExactState:
    process = copy.deepcopy(state.process)
    for module in process.modules():
        if isinstance(module, RunTerm):
            module.fresh = False
    return replace(state, process=process)
