"""Strategies of budget allocation, as replays play them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from probscale.budget.bench import drive
from probscale.budget.registry import strategy_named
from probscale.errors import ConfigError
from probscale.evaluate.replay.budget import ReplayBench
from probscale.spelling import close_names, did_you_mean
from probscale.surrogate import CurveSurrogate


@dataclass(frozen=True)
class StrategySpender:
    """Spends a replay's budget by a strategy of `budget.registry.STRATEGIES`.

    Attributes:
        strategy: Its name.
        eta: One in eta runs goes on, where there are rungs.
        earlier: Gives the surrogate of earlier runs that a game begins with; none by default.
    """

    strategy: str
    eta: float = 2.0
    earlier: Callable[[ReplayBench], CurveSurrogate] | None = None

    def __call__(self, bench: ReplayBench, seed: int) -> None:
        """Play one game."""
        torch.set_num_threads(1)
        generator = np.random.default_rng([seed, 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            surrogate = None if self.earlier is None else self.earlier(bench)
            drive(bench, strategy_named(self.strategy)(bench, generator, surrogate, self.eta))


SPENDERS = {
    "halving, eta 2": StrategySpender("halving"),
    "halving, eta 3": StrategySpender("halving", 3.0),
    "uniform": StrategySpender("uniform"),
    "hyperband": StrategySpender("hyperband", 3.0),
    "asha, eta 2": StrategySpender("asha"),
    "asha, eta 3": StrategySpender("asha", 3.0),
    "one_random": StrategySpender("one_random"),
    "one_chinchilla": StrategySpender("one_chinchilla"),
    "halving_power": StrategySpender("halving_power"),
    "halving_ensemble": StrategySpender("halving_ensemble"),
    "halving_coregional": StrategySpender("halving_coregional"),
    "halving_joint": StrategySpender("halving_joint"),
    "early_commitment": StrategySpender("early_commitment"),
    "expected_improvement": StrategySpender("expected_improvement"),
    "size_prior": StrategySpender("size_prior"),
    "surrogate": StrategySpender("surrogate"),
}
SIZED = ("one_chinchilla", "size_prior")
"""Strategies for runs that differ in size."""


def spenders_named(names: Sequence[str] | None, *, sized: bool) -> dict[str, StrategySpender]:
    """Spenders by name; all that suit the runs by default.

    Raises:
        ConfigError: for an unknown name.
    """
    unknown = [name for name in names or () if name not in SPENDERS]
    if unknown:
        raise ConfigError(f"there is no strategy {unknown[0]!r} to replay; {listed(unknown[0], SPENDERS)}")
    chosen = names or [name for name in SPENDERS if sized or name not in SIZED]
    return {name: SPENDERS[name] for name in chosen}


def listed(name: str, known: Collection[str]) -> str:
    """What a message says of names, some of which hold commas: those like one, then all."""
    begun = [each for each in known if name and each.startswith(name)]
    close = begun[:2] or close_names(name, known, most=2)
    return did_you_mean(close, f"known are {', '.join(map(repr, known))}")
