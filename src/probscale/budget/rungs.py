"""Rung arithmetic of halving, Hyperband and ASHA: pure functions of counts and a total.

Compute is in whatever unit the total has; nothing here knows what a run is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

from probscale.errors import BudgetError


@dataclass(frozen=True)
class Bracket:
    """One halving schedule of Hyperband.

    Attributes:
        runs: Runs that enter.
        rounds: Rungs, at least one.
        share: Share of the total spent in it.
    """

    runs: int
    rounds: int
    share: float


def check_eta(eta: float) -> float:
    """`eta` if it is a number above 1.

    Raises:
        BudgetError: otherwise.
    """
    if not isinstance(eta, Real) or not eta > 1:
        raise BudgetError(
            f"eta is {eta!r}; one in eta runs is kept, so it must exceed 1 (2, 3 or 4 are usual)", eta=eta
        )
    return float(eta)


def check_runs(runs: int) -> int:
    """`runs` if it is at least 1.

    Raises:
        BudgetError: otherwise.
    """
    if runs < 1:
        raise BudgetError("the pool is empty; a budget needs at least one run to spend it on")
    return runs


def halving_rounds(runs: int, eta: float) -> int:
    """Rounds of successive halving: the least r with eta^r at least `runs`, and at least one.

    Source: Jamieson and Talwalkar 2016, algorithm 1 (⌈log_η n⌉).
    """
    check_eta(eta)
    rounds, reach = 1, eta
    # Repeated products: a ratio of logarithms rounds 9 runs at eta 3 up to three rounds.
    while reach < check_runs(runs) * (1 - 1e-12):
        rounds, reach = rounds + 1, reach * eta
    return rounds


def kept(runs: int, eta: float) -> int:
    """Runs kept of `runs`: max(1, ⌊runs / eta⌋)."""
    return max(1, int(runs / check_eta(eta) + 1e-12))


def hyperband(runs: int, eta: float) -> tuple[Bracket, ...]:
    """Brackets of Hyperband, most exploring first; each has the same share of the total.

    The published algorithm samples new configurations without end; over a finite pool its largest bracket
    holds the whole pool, so that s_max = ⌊log_η runs⌋, and bracket s starts ⌈(s_max + 1)/(s + 1) · η^s⌉ runs,
    at most all.

    Source: Li et al. 2018, algorithm 1.

    >>> [(bracket.runs, bracket.rounds) for bracket in hyperband(27, 3)]
    [(27, 4), (12, 3), (6, 2), (4, 1)]
    """
    most = floor_log(check_runs(runs), eta)
    brackets: list[Bracket] = []
    for s in range(most, -1, -1):
        wanted = math.ceil((most + 1) / (s + 1) * eta**s - 1e-9)
        brackets.append(Bracket(min(runs, wanted), s + 1, 1 / (most + 1)))
    return tuple(brackets)


def floor_log(value: float, eta: float) -> int:
    """⌊log_η value⌋ without the rounding of a ratio of logarithms."""
    power, reach = 0, check_eta(eta)
    while reach <= value * (1 + 1e-12):
        power, reach = power + 1, reach * eta
    return power


def asha_levels(runs: int, total: float, eta: float) -> tuple[float, ...]:
    """Compute of a run at the end of each ASHA rung, from the start of the run.

    Rung k ends at r·η^k; r is such that each rung, filled once by the promotions of the rung below, costs
    about as much as a rung of halving.

    Source: Li et al. 2020, algorithm 2.
    """
    rungs = floor_log(check_runs(runs), eta) + 1
    return tuple(total / (rungs * runs) * eta**level for level in range(rungs))


def promotable(results: list[tuple[float, int]], promoted: set[int], eta: float) -> int | None:
    """Run of a rung that ASHA promotes next: the best of its top 1/eta not promoted yet, or None.

    Args:
        results: (output, run) of the rung, lower better; ties keep their order.
        promoted: Runs already promoted from it.
        eta: Reduction factor.

    Source: Li et al. 2020, algorithm 2, `get_job`.
    """
    top = sorted(results, key=lambda item: item[0])[: int(len(results) / check_eta(eta) + 1e-12)]
    return next((run for _, run in top if run not in promoted), None)
