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

RANK, MOST_RANK = 8, 20
"""Functions of progress: usual number, and most."""

RUNS_PER_FUNCTION = 12
"""Runs without which a function of progress is not worth having."""

FORETOLD = 0.1
"""Share of the mean absolute deviation of the ninth score that runs left out must be foretold of, for more
functions to be worth it: nanochat and StepLaw .3; nmt_lc and both sources of NCPL together 0."""

LEFT = 0.6
"""Share of the variance of the remainder that more functions may leave: nanochat .49, StepLaw .75."""

EXACT_STD = 1.0
"""Standard deviation of the scores where more functions are worth it: curves are then all but exact, and the
floor of noise, .001, must not stand in their way. Errors on runs left out of nanochat are 15 % smaller.
Where curves are less exact the floor helps: without it StepLaw has 3 to 7 % larger errors."""


def suitable_basis(curves: Curves, residual: Array, options: FitOptions) -> Basis:
    """Principal functions of curves: more than eight where the ninth is foretold and they leave much less.

    Args:
        curves: Curves of a log.
        residual: What is left of them without baseline and level, (points,).
        options: Settings.

    Cost: that of `fit_basis`, at most twice, and of the process of one score.
    """
    most = max(len(curves.names) // RUNS_PER_FUNCTION, 2)
    basis = fit_basis(curves.v, residual, curves.codes, rank=min(most, RANK))
    if most <= RANK or len(basis.variance) < RANK:
        return basis
    more = fit_basis(curves.v, residual, curves.codes, rank=min(most, MOST_RANK), std=EXACT_STD)
    if len(more.variance) <= RANK or more.noise.mean() > LEFT * basis.noise.mean():
        return basis
    return more if foretold_share(more, curves, residual, options, RANK) >= FORETOLD else basis


def basis_like(basis: Basis, curves: Curves, residual: Array) -> Basis:
    """As many functions, and scores on the same scale, for what is left once more is known."""
    std = EXACT_STD if len(basis.variance) > RANK else None
    return fit_basis(curves.v, residual, curves.codes, rank=len(basis.variance), std=std)


def foretold_share(basis: Basis, curves: Curves, residual: Array, options: FitOptions, which: int) -> float:
    """How much smaller errors are than deviations from the median, for one score of runs left out."""
    precision, moment = information_of(basis, curves, residual)
    blank = np.zeros((len(curves.names), len(basis.variance)))
    sites = sites_of(precision, moment, blank, blank + basis.variance)
    value, generator = sites.location[:, which], np.random.default_rng(0)
    state, _, share = fit_score(curves, sites, which, np.zeros(len(value)), options, generator)
    processes = ScoreProcesses((state,), curves.names, np.array([share]))
    told, _ = processes.left_out(np.arange(len(value)))
    deviation = np.abs(value - np.median(value)).mean()
    return 1 - float(np.abs(value - told[:, 0]).mean() / max(deviation, 1e-300))
