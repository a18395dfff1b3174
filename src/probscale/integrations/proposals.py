"""What searchers of other tools share: one type per setting, and scores of candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier

from probscale.errors import ConfigError, expecting_new_values
from probscale.surrogate.botorch_model import CurveModel

Array = NDArray[np.float64]

_TREES = 50
_FAILURE = 2.0
"""Power of the probability that a candidate runs; 1 proposes twice as many that fail, 3 no fewer."""


def shares(count: int, best: Sized) -> tuple[int, int]:
    """How many candidates are drawn anywhere, and how many near the best: a third, if there are any.

    >>> shares(256, ["a trial"]), shares(256, [])
    ((171, 85), (256, 0))
    """
    near = count // 3 if len(best) else 0
    return count - near, near


def check_proposing(candidates: int, explore: float) -> None:
    """Raises ConfigError where a searcher has no candidate to score, or scores none of its proposals."""
    if not isinstance(candidates, Integral) or candidates < 1:
        raise ConfigError(f"candidates is {candidates!r}; give at least 1", candidates=candidates)
    if not (isinstance(explore, Real) and 0 <= explore < 1):
        raise ConfigError(f"explore is {explore!r}; give a share from 0 to below 1", explore=explore)


def kind_of(value: Any) -> str:
    """Kind of a plain value: a column of a log holds one."""
    return "truth" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "text"


def mixed(configs: Iterable[Mapping[str, Any]]) -> set[str]:
    """Settings whose plain values are of several kinds, such as the choices None, 8 and 16."""
    kinds: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            kinds.setdefault(name, set()).add(kind_of(value))
    return {name for name, found in kinds.items() if len(found) > 1}


def as_text(config: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """A configuration in which the named settings are text, which compares them by equality."""
    return {k: str(v) if k in names else v for k, v in config.items()}


@expecting_new_values()
def scores(
    model: CurveModel,
    pool: pd.DataFrame,
    *,
    tried: pd.DataFrame | None,
    waiting: pd.DataFrame | None,
    failed: pd.DataFrame | None,
) -> Array:
    """Logarithm of the expected improvement of candidates, less what their chance to fail takes, (pool,).

    Args:
        model: Surrogate at the place where candidates are compared.
        pool: Candidates.
        tried: Configurations with a value; the improvement is over the best of them.
        waiting: Configurations that run; they count as if they had reached their expected value.
        failed: Configurations that raised an error. A surrogate of the others would propose them again and
            again: nothing that it sees speaks against them.
    """
    from botorch.acquisition import LogExpectedImprovement

    asked = model.encode(pool)
    known = asked if tried is None else model.encode(tried)
    with torch.no_grad():
        seen = _mean(model, known)
        if waiting is not None:
            x = model.encode(waiting)
            after = model.condition_on_observations(x, _mean(model, x))
        else:
            after = model
        score = LogExpectedImprovement(after, best_f=seen.max())(asked[:, None]).numpy()
    if failed is None or tried is None:
        return score
    return score + _FAILURE * np.log(runs(known.numpy(), model.encode(failed).numpy(), asked.numpy()))


def runs(good: Array, failed: Array, asked: Array) -> Array:
    """Probability that candidates run, (asked,), from encoded configurations that did and that failed."""
    x = np.concatenate([good, failed])
    forest = ExtraTreesClassifier(_TREES, random_state=0)
    forest.fit(x, np.arange(len(x)) < len(good))
    shares = np.asarray(forest.predict_proba(asked))[:, 1]
    return (_TREES * shares + 1.0) / (_TREES + 2.0)


def _mean(model: CurveModel, x: torch.Tensor) -> torch.Tensor:
    posterior: Any = model.posterior(x)
    return posterior.mean
