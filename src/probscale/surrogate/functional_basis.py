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
"""Share of the mean absolute deviation of the faintest score that runs left out must be foretold of,
for more functions to be worth their noise. Of eight functions: nanochat and lcbench .3; StepLaw .03,
nmt_lc and lcdb 0."""


EXACT_STD = 1.0
"""Standard deviation of the scores where the faintest is foretold: curves are then all but exact, and
the floor of noise must not stand in their way. Errors on runs left out of nanochat are 7 to 12 %
smaller than with .02."""


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
    return fit_basis(curves.v, residual, curves.codes, rank=min(most, MOST_RANK), std=EXACT_STD)


def basis_like(basis: Basis, curves: Curves, residual: Array) -> Basis:
    """As many functions, and scores on the same scale, for what is left once more is known."""
    std = float(np.sqrt(basis.variance[-1]))
    return fit_basis(curves.v, residual, curves.codes, rank=len(basis.variance), std=std)


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
