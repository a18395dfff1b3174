"""Runs that came after the fit and may be off by more than others: their own variance in a process."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from probscale.model.exact import ExactState
from probscale.model.gp import CurveProcess, Observations
from probscale.model.outputs import OutputsProcess
from probscale.model.terms import RunTerm

Array = NDArray[np.float64]


def parts_of(process: CurveProcess) -> tuple[CurveProcess, ...]:
    """Processes of the single outputs."""
    return process.each if isinstance(process, OutputsProcess) else (process,)


def run_term_of(process: CurveProcess) -> RunTerm | None:
    """The deviation of runs in a process of one output; None where rows are whole runs."""
    terms = getattr(process.kernel, "terms", ())
    return next((term for term in terms if isinstance(term, RunTerm)), None)


@torch.no_grad()
def with_strays(state: ExactState, codes: Array, lines: Sequence[Array]) -> ExactState:
    """The posterior, of which some runs to come deviate by more than others.

    Args:
        state: Posterior in which none of the runs takes part as yet.
        codes: Codes of the runs, (runs,).
        lines: What they vary by beside the usual, for each output, (runs, 3) each; see `RunTerm.strays`.
    """
    process = copy.deepcopy(state.process)
    for part, extra in zip(parts_of(process), lines, strict=True):
        term = run_term_of(part)
        assert term is not None
        term.strays = torch.cat([term.strays, torch.from_numpy(np.c_[codes, extra])])
    return replace(state, process=process)


@torch.no_grad()
def weighed(state: ExactState, new: Observations, extra: Array) -> Observations:
    """Observations whose values vary by `extra` beside their noise, each alone, (rows,)."""
    noise = state.process.noise(new.rows)
    return replace(new, weight=new.weight * noise / (noise + torch.from_numpy(extra)))
