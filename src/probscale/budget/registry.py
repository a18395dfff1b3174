"""The table of strategies by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from probscale.budget import commitment, strategies
from probscale.budget.bench import Bench, Strategy
from probscale.budget.forecast import JointForecaster
from probscale.budget.parametric import EnsembleForecaster, PowerForecaster
from probscale.errors import BudgetError

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate

Maker = Callable[[Bench, np.random.Generator, "CurveSurrogate | None", float], Strategy]


def _plain(function: Callable[..., Strategy]) -> Maker:
    return lambda bench, generator, surrogate, eta: function(bench, generator)


def _rate(function: Callable[..., Strategy]) -> Maker:
    return lambda bench, generator, surrogate, eta: function(bench, generator, eta=eta)


def _joint(surrogate: CurveSurrogate | None, generator: np.random.Generator) -> JointForecaster:
    return JointForecaster(surrogate, seed=int(generator.integers(2**31)))


def _halving_joint(
    bench: Bench, generator: np.random.Generator, surrogate: CurveSurrogate | None, eta: float
) -> Strategy:
    return strategies.forecast_halving(bench, generator, forecaster=_joint(surrogate, generator), eta=eta)


def _commitment(
    bench: Bench, generator: np.random.Generator, surrogate: CurveSurrogate | None, eta: float
) -> Strategy:
    return commitment.early_commitment(bench, generator, forecaster=_joint(surrogate, generator), eta=eta)


def _improvement(
    bench: Bench, generator: np.random.Generator, surrogate: CurveSurrogate | None, eta: float
) -> Strategy:
    return commitment.expected_improvement(bench, generator, forecaster=_joint(surrogate, generator))


def _race(
    bench: Bench, generator: np.random.Generator, surrogate: CurveSurrogate | None, eta: float
) -> Strategy:
    return commitment.race(bench, generator, forecaster=_joint(surrogate, generator))


def _size_prior(
    bench: Bench, generator: np.random.Generator, surrogate: CurveSurrogate | None, eta: float
) -> Strategy:
    prior = commitment.size_prior(bench)
    return commitment.race(bench, generator, forecaster=_joint(surrogate, generator), prior=prior)


STRATEGIES: dict[str, Maker] = {
    "uniform": _plain(strategies.uniform),
    "one_random": _plain(strategies.one_random),
    "one_chinchilla": _plain(strategies.one_chinchilla),
    "halving": _rate(strategies.halving),
    "hyperband": _rate(strategies.hyperband),
    "asha": _rate(strategies.asha),
    "halving_power": lambda bench, generator, surrogate, eta: strategies.forecast_halving(
        bench, generator, forecaster=PowerForecaster(), eta=eta
    ),
    "halving_ensemble": lambda bench, generator, surrogate, eta: strategies.forecast_halving(
        bench, generator, forecaster=EnsembleForecaster(), eta=eta
    ),
    "halving_joint": _halving_joint,
    "early_commitment": _commitment,
    "expected_improvement": _improvement,
    "size_prior": _size_prior,
    "surrogate": _race,
}


def strategy_named(name: str) -> Maker:
    """Maker of a strategy.

    Raises:
        BudgetError: for an unknown name, with close matches.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    close = difflib.get_close_matches(name, STRATEGIES, n=2)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    raise BudgetError(
        f"there is no strategy {name!r}; {hint}accepted are {', '.join(map(repr, STRATEGIES))}", strategy=name
    )
