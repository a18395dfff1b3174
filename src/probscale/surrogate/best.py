"""Joint tuning: which configuration of a pool is best at a given point, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.errors import ConfigError
from probscale.runs.order import table_order
from probscale.runs.pools import Configs
from probscale.surrogate.query import read_at, read_configs
from probscale.surrogate.ranges import are_ranges, candidates

if TYPE_CHECKING:
    from probscale.surrogate.curves import CurveSurrogate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BestConfig:
    """The best configuration of a pool by posterior mean, and its standing.

    Attributes:
        config: The configuration.
        position: Its row in the pool.
        mean: Predicted output.
        interval: Central 90 % interval of the output.
        prob_best: Probability of being the best of the pool.
        prob_within: Probability of lying within `within` of the best.
        within: Margin, in output units.
        table: The whole pool with mean, prob_best and prob_within, best first; with prob_diverge too where a
            candidate may diverge, of which the others know nothing.
        left_out: Settings that candidates leave out, with how many do; see `CurvePosterior`.
        beyond: How far candidates or the axis value lie beyond the log, as factors; see `CurvePosterior`.
    """

    config: dict[str, Any]
    position: int
    mean: float
    interval: tuple[float, float]
    prob_best: float
    prob_within: float
    within: float
    table: pd.DataFrame = field(repr=False)
    left_out: Mapping[str, int] = field(default_factory=dict)
    beyond: Mapping[str, float] = field(default_factory=dict)


def best_config(
    surrogate: CurveSurrogate, pool: Configs, at: ArrayLike, *, within: float, samples: int, seed: int
) -> BestConfig:
    """Configuration with the best latent output at an axis value, whatever the order of the pool.

    Args:
        surrogate: Fitted surrogate.
        pool: Candidate configurations, or ranges; see `CurveSurrogate.best`.
        at: One axis value for all, or one per configuration, (configs,) or (configs, 1).
        within: Margin for `prob_within`, output units.
        samples: Joint posterior draws behind the probabilities.
        seed: Seed of the draws.

    Raises:
        ConfigError: if more than one axis value per configuration is given, or a margin that is none; as
            `candidates`.
    """
    if not (isinstance(within, Real) and within >= 0):
        raise ConfigError(
            f"within is {within!r}; pass a margin of at least 0, in units of the output", within=within
        )
    sign = 1.0 if surrogate.log.roles.goal == "min" else -1.0
    if are_ranges(pool):
        pool = _between(surrogate, pool, at, sign, seed)
    frame = read_configs(pool, surrogate.log)
    values = np.asarray(at)
    if values.ndim == 1 and len(values) == len(frame) and len(frame) > 1:
        values = values[:, None]
    values = read_at(values, len(frame), surrogate.log.roles.axis)
    if values.shape[1] != 1:
        raise ConfigError(
            f"best compares configurations at one axis value each; at has {values.shape[1]} per row"
        )
    order = table_order(frame, surrogate.log.roles.run, values)
    frame = frame.iloc[order]
    curves = surrogate.predict(frame, values[order])
    draws = curves.latent().sample(samples, seed=seed)[:, :, 0]
    gap = sign * draws - (sign * draws).min(axis=1, keepdims=True)
    mean = curves.latent().mean[:, 0]
    leading = int(np.argmin(sign * mean))
    prob_best = np.bincount(np.argmin(gap, axis=1), minlength=len(frame)) / samples
    prob_within = (gap <= within).mean(axis=0)
    lower, upper = curves.interval(0.9)
    table = frame.assign(mean=mean, prob_best=prob_best, prob_within=prob_within)
    if (curves.prob_diverge > 0).any():
        table = table.assign(prob_diverge=curves.prob_diverge)
    table = table.iloc[np.argsort(sign * mean, kind="stable")]
    return BestConfig(
        config={str(k): v for k, v in frame.iloc[[leading]].to_dict("records")[0].items()},
        position=int(order[leading]),
        mean=float(mean[leading]),
        interval=(float(lower[leading, 0]), float(upper[leading, 0])),
        prob_best=float(prob_best[leading]),
        prob_within=float(prob_within[leading]),
        within=within,
        table=table,
        left_out=curves.left_out,
        beyond=curves.beyond,
    )


def _between(
    surrogate: CurveSurrogate, ranges: Mapping[str, Any], at: ArrayLike, sign: float, seed: int
) -> pd.DataFrame:
    """Candidates of ranges, the best found at an axis value among them."""
    if np.size(at) != 1:
        raise ConfigError(f"at has {np.size(at)} values; with ranges, best compares at one axis value")

    def badness(frame: pd.DataFrame) -> Array:
        return sign * surrogate.predict(frame, at).latent().mean[:, 0]

    return candidates(ranges, surrogate.log, badness, seed)
