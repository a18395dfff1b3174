"""How many functions of progress a log is given: more where configurations foretell what they say of runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from probscale.model.basis import Basis, fit_basis
from probscale.model.scores import ScoreProcesses, sites_of
from probscale.surrogate.functional_curves import Curves
from probscale.surrogate.functional_scores import fit_score, information_of
from probscale.surrogate.options import FitOptions

Array = NDArray[np.float64]

RANK = 8
MOST_RANK = 20
RUNS_PER_FUNCTION = 12

FORETOLD = 0.1
"""Share of the mean absolute deviation of the faintest score that runs left out must be foretold of, for more
functions to be worth their noise. Of eight functions: nanochat .36, lcbench .26; nmt_lc and lcdb about 0."""


def suitable_basis(curves: Curves, residual: Array, options: FitOptions) -> Basis:
    """Principal functions of curves, more than eight where the eighth can be foretold.

    Args:
        curves: Curves of a log.
        residual: What is left of them without baseline and level, (points,).
        options: Settings.

    Cost: that of `fit_basis`, at most twice, and of the process of one score.
    """
    most = max(len(curves.names) // RUNS_PER_FUNCTION, 2)
    basis = fit_basis(curves.v, residual, curves.codes, rank=min(most, RANK))
    if (
        most <= RANK
        or len(basis.variance) < RANK
        or foretold_share(basis, curves, residual, options) < FORETOLD
    ):
        return basis
    return fit_basis(curves.v, residual, curves.codes, rank=min(most, MOST_RANK))


def foretold_share(basis: Basis, curves: Curves, residual: Array, options: FitOptions) -> float:
    """How much smaller errors are than deviations from the median, for the last score of runs left out."""
    precision, moment = information_of(basis, curves, residual)
    blank = np.zeros((len(curves.names), len(basis.variance)))
    sites = sites_of(precision, moment, blank, blank + basis.variance)
    last = len(basis.variance) - 1
    value, generator = sites.location[:, last], np.random.default_rng(0)
    state, _, share = fit_score(curves, sites, last, np.zeros(len(value)), options, generator)
    processes = ScoreProcesses((state,), curves.names, np.array([share]))
    told, _ = processes.left_out(np.arange(len(value)))
    deviation = np.abs(value - np.median(value)).mean()
    return 1 - float(np.abs(value - told[:, 0]).mean() / max(deviation, 1e-300))
