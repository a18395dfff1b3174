"""The table of strategies by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from probscale.budget import commitment, strategies
from probscale.budget.bench import Bench, Strategy
from probscale.budget.forecast import Forecaster, JointForecaster
from probscale.budget.parametric import EnsembleForecaster, PowerForecaster
from probscale.errors import BudgetError
from probscale.spelling import close_names, did_you_mean

if TYPE_CHECKING:
    from probscale.surrogate import CurveSurrogate


StrategyMaker: TypeAlias = Callable[[Bench, np.random.Generator], Strategy]
"""A user's own strategy: a generator function of the bench and a source of randomness."""


@dataclass(frozen=True)
class Maker:
    """How a strategy of the table is made.

    Attributes:
        make: Of a bench, a generator, a forecaster and eta.
        forecasts: Which forecaster it needs: "", "power", "ensemble", "coregional" or "joint".
        meaning: One line for tables and help.
    """

    make: Callable[[Bench, np.random.Generator, Forecaster | None, float], Strategy]
    forecasts: str = ""
    meaning: str = ""

    def __call__(
        self,
        bench: Bench,
        generator: np.random.Generator,
        surrogate: CurveSurrogate | None = None,
        eta: float = 3.0,
    ) -> Strategy:
        """The strategy, with the forecaster it needs; `surrogate` knows earlier runs."""
        return self.make(bench, generator, self.forecaster(generator, surrogate), eta)

    def forecaster(
        self, generator: np.random.Generator, surrogate: CurveSurrogate | None
    ) -> Forecaster | None:
        """The forecaster it needs, if any."""
        if self.forecasts == "joint":
            return JointForecaster(surrogate, seed=int(generator.integers(2**31)))
        if self.forecasts == "coregional":
            # Imports torch, which the other strategies of this table do not need.
            from probscale.budget.coregional import CoregionalForecaster

            return CoregionalForecaster()
        return {"power": PowerForecaster(), "ensemble": EnsembleForecaster()}.get(self.forecasts)


def _plain(function: Callable[..., Strategy], meaning: str) -> Maker:
    return Maker(lambda bench, generator, forecaster, eta: function(bench, generator), "", meaning)


def _rate(function: Callable[..., Strategy], meaning: str) -> Maker:
    return Maker(lambda bench, generator, forecaster, eta: function(bench, generator, eta=eta), "", meaning)


def _halving(forecasts: str, meaning: str) -> Maker:
    return Maker(
        lambda bench, generator, forecaster, eta: strategies.forecast_halving(
            bench, generator, forecaster=_given(forecaster), eta=eta
        ),
        forecasts,
        meaning,
    )


def _joint(function: Callable[..., Strategy], meaning: str) -> Maker:
    return Maker(
        lambda bench, generator, forecaster, eta: function(bench, generator, forecaster=_given(forecaster)),
        "joint",
        meaning,
    )


def _committing(function: Callable[..., Strategy], meaning: str) -> Maker:
    return Maker(
        lambda bench, generator, forecaster, eta: function(
            bench, generator, forecaster=_given(forecaster), settings=commitment.Commitment(eta=eta)
        ),
        "joint",
        meaning,
    )


def _given(forecaster: Forecaster | None) -> Forecaster:
    assert forecaster is not None
    return forecaster


STRATEGIES: dict[str, Maker] = {
    "uniform": _plain(strategies.uniform, "the same compute for every run"),
    "one_random": _plain(strategies.one_random, "everything on one run at random"),
    "one_chinchilla": _plain(strategies.one_chinchilla, "everything on the run of compute-optimal size"),
    "halving": _rate(strategies.halving, "successive halving by observed outputs"),
    "hyperband": _rate(strategies.hyperband, "brackets of halving"),
    "asha": _rate(strategies.asha, "asynchronous halving"),
    "halving_power": _halving("power", "halving by power laws fitted per curve"),
    "halving_ensemble": _halving("ensemble", "halving by a deep ensemble over three curve forms"),
    "halving_coregional": _halving("coregional", "halving by a linear model of coregionalisation"),
    "halving_joint": _halving("joint", "halving by the joint surrogate"),
    "early_commitment": _committing(commitment.early_commitment, "halving that commits early"),
    "expected_improvement": _joint(commitment.expected_improvement, "expected improvement at the horizon"),
    "size_prior": _joint(commitment.size_prior, "a ladder of small runs, then the size prior"),
    "surrogate": _committing(commitment.default_strategy, "size prior or early commitment, as the pool asks"),
}


def strategy_named(strategy: str | StrategyMaker) -> Maker:
    """Maker of a strategy: of a name in the table, or of a user's own function.

    Raises:
        BudgetError: for an unknown name, with close matches.

    >>> from probscale.budget import Decision, Order
    >>> def first_run_only(bench, generator):
    ...     yield Decision((Order(0, bench.remaining),), "all on the first")
    >>> strategy_named(first_run_only).meaning
    'first_run_only'
    """
    if isinstance(strategy, Maker):
        return strategy
    if callable(strategy):
        return _plain(strategy, getattr(strategy, "__name__", type(strategy).__name__))
    name = strategy if isinstance(strategy, str) else repr(strategy)
    if name in STRATEGIES:
        return STRATEGIES[name]
    accepted = f"accepted are {', '.join(map(repr, STRATEGIES))}"
    hint = did_you_mean(close_names(name, STRATEGIES, most=2), accepted)
    raise BudgetError(
        f"there is no strategy {name!r}; {hint}, or a "
        "function of a bench and a generator that yields decisions",
        strategy=strategy,
    )
