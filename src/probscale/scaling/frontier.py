"""The compute-optimal frontier as a posterior: best reachable output, its law, and where it is reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from probscale.cost import CostModel, as_cost
from probscale.envelope import area_between, best_of, crossings, given_levels, line_through
from probscale.errors import ConfigError, ShapeError
from probscale.randomness import count_of
from probscale.runs import RunLog
from probscale.runs.pools import Configs
from probscale.scaling.between import pool_of_log
from probscale.scaling.candidates import Candidates, check_until, first_place
from probscale.scaling.doubts import warn_beyond, warn_misfit
from probscale.scaling.drawing import drawn_curves
from probscale.scaling.draws import Draws
from probscale.scaling.law_posterior import LawPosterior, fit_laws
from probscale.scaling.levels import law_levels, observed_levels, spread_out
from probscale.scaling.optimum import OptimumPosterior
from probscale.surrogate import CurveSurrogate, fit_surrogate
from probscale.surrogate.curves import check_fitted
from probscale.surrogate.population import population_level

Array = NDArray[np.float64]

FEWEST_LEVELS = 3
"""Levels of compute from which a law is fitted."""


@dataclass(frozen=True, eq=False)
class Frontier:
    """Posterior of the best output that each amount of compute can reach.

    The best of a pool is taken draw by draw, so that its uncertainty includes which configuration is the
    best: the expected best is better than the best of expected curves.

    Attributes:
        compute: Levels of compute, rising, (levels,).
        loss: Best reachable output at each level: draws of (levels,).
        law: Parameters of the laws fitted to each draw.
        optimum: Configuration, params and axis value at the optimum.
        goal: "min" or "max".
        target: Output that `prob_reach` and `smallest_budget` mean by default.
        pool: Configurations that were chosen among, by the names that `optimum` has for them.
        followed: Levels through which the law goes, (levels,); by default all that are reached.
    """

    compute: Array
    loss: Draws
    law: LawPosterior
    optimum: OptimumPosterior
    goal: str
    target: float | None = None
    pool: pd.DataFrame | None = None
    followed: NDArray[np.bool_] | None = None

    def __repr__(self) -> str:
        low, high = self.compute[0], self.compute[-1]
        return f"Frontier({len(self.compute)} levels of compute, {low:.4g} to {high:.4g}; law: {self.law})"

    @property
    def law_compute(self) -> Array:
        """Levels of compute through which the law goes."""
        return self.compute if self.followed is None else self.compute[self.followed]

    def prob_reach(self, target: float | None = None, budget: float | None = None) -> float:
        """Probability that the best output within a budget is at least as good as a target.

        Args:
            target: Output to reach; by default the frontier's own target.
            budget: Compute, within the levels of the frontier; the largest by default.

        Raises:
            ConfigError: if there is no target, or the budget lies outside the levels.
        """
        chance = self._chances(target)
        if budget is None:
            return float(chance[-1])
        low, high = float(self.compute[0]), float(self.compute[-1])
        if not low <= budget <= high:
            raise ConfigError(
                f"budget {budget:.4g} lies outside the frontier's compute, {low:.4g} to {high:.4g}; fit it "
                "over a wider range",
                budget=budget,
            )
        return float(np.interp(np.log(budget), np.log(self.compute), chance))

    def smallest_budget(self, target: float | None = None, probability: float = 0.9) -> float:
        """Smallest compute that reaches a target with a given probability; infinite beyond the levels.

        Raises:
            ConfigError: if there is no target, or the probability is not strictly between 0 and 1.
        """
        if not (isinstance(probability, Real) and 0 < probability < 1):
            raise ConfigError(f"probability is {probability}; pass one strictly between 0 and 1, such as 0.9")
        chance = self._chances(target)
        reached = np.flatnonzero(chance >= probability)
        if not len(reached):
            return math.inf
        first = int(reached[0])
        if first == 0 or chance[first] == chance[first - 1]:
            return float(self.compute[first])
        share = (probability - chance[first - 1]) / (chance[first] - chance[first - 1])
        ends = np.log(self.compute[first - 1 : first + 1])
        return float(np.exp(ends[0] + share * (ends[1] - ends[0])))

    def abc(
        self, truth: ArrayLike | Mapping[str, float], *, span: tuple[float, float] | None = None
    ) -> float:
        """Area between the mean log-linear law and a true one, over ln(compute).

        Args:
            truth: True frontier at `compute`, (levels,), to which a line is fitted; or the line itself, a
                mapping with slope and intercept.
            span: Compute between which the area is taken; by default that of the law.

        Raises:
            ShapeError: if `truth` does not match the levels.
            ConfigError: if it is no frontier or line, or the span does not rise.
        """
        if isinstance(truth, Mapping):
            if not {"slope", "intercept"} <= set(truth):
                raise ConfigError(
                    f"truth has {', '.join(map(str, truth))}; pass slope and intercept of a line"
                )
            line = float(truth["slope"]), float(truth["intercept"])
        else:
            true = self._linear(self._matching(truth))
            true = true if self.followed is None else true[self.followed]
            slope, intercept = line_through(np.log(self.law_compute), true)
            line = float(slope), float(intercept)
        low, high = (float(self.law_compute[0]), float(self.law_compute[-1])) if span is None else span
        if not 0 < low < high < math.inf:
            raise ConfigError(f"span is {span}; pass two rising amounts of compute", span=span)
        mean = self.law.mean
        return area_between((mean["slope"], mean["intercept"]), line, (math.log(low), math.log(high)))

    def frmse(self, truth: ArrayLike) -> float:
        """Root mean square error of the expected frontier, of its logarithm for positive losses.

        Args:
            truth: True frontier at `compute`, (levels,).

        Raises:
            ShapeError: if `truth` does not match the levels.
            ConfigError: if it holds outputs that cannot be.
        """
        believed = self._linear(self.loss.values).mean(axis=0)
        return float(np.sqrt(np.nanmean((believed - self._linear(self._matching(truth))) ** 2)))

    def to_frame(self, level: float = 0.9) -> pd.DataFrame:
        """One row per level of compute: best output with its interval, and the optimum."""
        lower, upper = self.loss.interval(level)
        best = {"mean": self.loss.mean, "std": self.loss.std, "lower": lower, "upper": upper}
        return self.optimum.to_frame(level).assign(**best)

    def _chances(self, target: float | None) -> Array:
        """Probability of having reached a target by each level."""
        wanted = self.target if target is None else target
        if wanted is None:
            raise ConfigError("there is no target; pass target=, here or to fit_frontier")
        if not isinstance(wanted, Real) or math.isnan(wanted):
            raise ConfigError(f"target is {wanted!r}; pass an output to reach, such as 2.5", target=wanted)
        sign = 1.0 if self.goal == "min" else -1.0
        values = np.where(np.isnan(self.loss.values), np.inf, sign * self.loss.values)
        return (np.minimum.accumulate(values, axis=1) <= sign * wanted).mean(axis=0)

    def _linear(self, values: Array) -> Array:
        return np.log(values) if self.law.logarithmic else values

    def _matching(self, truth: ArrayLike) -> Array:
        try:
            values = np.asarray(truth, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"truth is {truth!r}; pass one output per level of compute") from error
        if values.shape != self.compute.shape:
            raise ShapeError(
                f"truth has shape {values.shape}; pass one value per level of compute, {self.compute.shape}",
                shape=values.shape,
            )
        if self.law.logarithmic and (values <= 0).any():
            raise ConfigError(f"truth has a loss of {values.min():g}; the frontier's losses are all positive")
        return values


def fit_frontier(
    surrogate: CurveSurrogate | RunLog,
    pool: Configs | None = None,
    *,
    compute: ArrayLike | None = None,
    cost: CostModel,
    seed: int = 0,
    samples: int = 256,
    target: float | None = None,
    until: float | None = None,
    luck: bool = True,
) -> Frontier:
    """Posterior of the compute-optimal frontier of a pool.

    Args:
        surrogate: Fitted surrogate; or a run log, to which one is fitted first.
        pool: Configurations to choose among. Without one, those of the log and sizes between theirs, as long
            as the longest run; where sizes have no part, the runs as far as they went.
        compute: Levels of compute, rising, in the unit of `cost`. By default those of the last two decades up
            to the dearest observed run; without a pool the law then goes through those (forty, over up to
            three decades) at which neither a smallest or largest size nor the end of a run binds the best.
        cost: Cost model.
        seed: Seed of the draws.
        samples: Number of joint posterior draws.
        target: Output to reach, remembered for `prob_reach` and `smallest_budget`.
        until: Largest axis value of a run; a larger budget leaves the rest unspent, and configurations that
            are planned to go further are left out. By default none; the longest observed without a pool.
        luck: Whether what sets single runs apart takes part: their seeds, and what their configurations do
            that the model does not explain. Without it the best of a pool does not fall as more and more
            alike configurations join, but intervals are too narrow where a model explains little.

    Returns:
        The frontier. Levels that no run of the pool reaches are NaN and left out of the laws.

    Raises:
        ConfigError: if levels do not rise, the pool is empty, or reaches fewer than three of the levels.

    Warns:
        ExtrapolationWarning: if levels, sizes of the pool or lengths of the best runs lie beyond what was
            observed, saying by how much.
        MisfitWarning: if the floor of the law lies above an output that is reached, as where curves are still
            in their first fall at the lower levels; if levels are more than any run of the pool costs; if
            its halves have exponents that contradict each other; or if sizes or lengths bind the best nearly
            everywhere.

    Cost: O((configs × points)³) with up to 2,000 cells; a second for 100 configurations.

    Example:
        >>> import numpy as np
        >>> import probscale as ps
        >>> log = ps.simulate_runs("law", n_runs=10, points=3, seed=0)
        >>> surrogate = ps.fit_surrogate(log, embedder=None)
        >>> pool = [{"params": n, "learning_rate": 2e-3} for n in (3e7, 1e8, 3e8, 1e9)]
        >>> levels = np.geomspace(1e18, 1e20, 6)
        >>> found = fit_frontier(surrogate, pool, compute=levels, cost=ps.FlopsCost(params="params"))
        >>> found.loss.mean.shape, sorted(found.law.mean)
        ((6,), ['coefficient', 'exponent', 'floor', 'intercept', 'slope'])
    """
    levels = None if compute is None else _levels(compute)
    if isinstance(surrogate, RunLog):
        surrogate = fit_surrogate(surrogate, seed=seed)
    check_fitted(surrogate, "fit_frontier")
    samples = count_of(samples, "samples", 2)
    log, cost = surrogate.log, as_cost(cost)
    check_until(until, log.roles.axis)
    believed = surrogate if luck else population_level(surrogate)
    asked, within = pool, None
    if pool is None:
        longest = float(log.points[log.roles.axis].max()) if until is None else float(until)
        asked = pool_of_log(believed, cost, longest)
        if asked is not None:
            until = longest
            within = law_levels(believed, asked, cost, longest, seed) if levels is None else None
    if levels is None:
        levels = observed_levels(log, cost)
        levels = levels if within is None else spread_out(within, levels)
    drawn = drawn_curves(believed, asked, cost, levels, until, samples, seed)
    found, order, most = drawn.found, drawn.order, drawn.bounds[1]
    best, position = best_of(drawn.at(levels), log.roles.goal)
    _check_reached(log, found, cost, levels, best)
    kept = np.asarray(np.isfinite(best).all(axis=0))
    if within is not None:
        inside = (levels >= within[0] * (1 - 1e-9)) & (levels <= within[-1] * (1 + 1e-9))
        kept = np.logical_and(kept, inside)
    optimum = _optimum(log, found, levels, position, np.isnan(best[0]), order)
    optimum = replace(optimum, followed=kept)
    warn_beyond(log, found, levels, cost, optimum)
    law = fit_laws(levels[kept], best[:, kept], goal=log.roles.goal, most=most)
    warn_misfit(law, levels[kept], best[:, kept], np.where(drawn.begun, found.cost, 0.0), most)
    chosen = found.pool.iloc[np.argsort(order)]
    return Frontier(levels, Draws(best), law, optimum, log.roles.goal, target, chosen, kept)


def _levels(compute: ArrayLike) -> Array:
    levels = given_levels(compute)
    if (np.diff(levels) <= 0).any():
        raise ConfigError("levels of compute must rise, such as those of np.geomspace(1e18, 1e20, 50)")
    if len(levels) < FEWEST_LEVELS:
        raise ConfigError(f"compute has {len(levels)} level(s); a law needs at least three")
    return levels


def _optimum(
    log: RunLog,
    found: Candidates,
    levels: Array,
    position: NDArray[np.intp],
    absent: NDArray[np.bool_],
    order: NDArray[np.intp],
) -> OptimumPosterior:
    """Where the best was found: `position` is the configuration of each draw and level.

    Probabilities are given in the order of the pool, of which the configurations are the rows `order`.
    """
    # The axis value at each level is read off like the curves, on a logarithmic axis.
    axis = np.exp(crossings(np.maximum.accumulate(found.cost, axis=1), levels).at(np.log(found.at)))
    columns = np.arange(len(levels))
    chance = np.stack([(position == config).mean(axis=0) for config in range(len(found.pool))])
    chance[:, absent] = np.nan
    params = None
    if log.roles.params is not None and log.roles.params in found.pool:
        sizes = found.pool[log.roles.params].to_numpy(dtype=np.float64)
        params = Draws(np.where(absent, np.nan, sizes[position]))
    reached, back = np.where(absent, np.nan, axis[position, columns]), np.argsort(order)
    return OptimumPosterior(
        compute=levels,
        params=params,
        axis=Draws(reached),
        probability=np.nan_to_num(chance)[back],
        index=found.pool.index[back],
        axis_name=log.roles.axis,
        ranks=back,
    )


def _check_reached(log: RunLog, found: Candidates, cost: CostModel, levels: Array, best: Array) -> None:
    """Refuse a pool that leaves no law to fit."""
    reached = int(np.isfinite(best).all(axis=0).sum())
    if reached >= FEWEST_LEVELS:
        return
    horizon, first = log.roles.horizon, first_place(log)
    beginnings = cost(found.pool, np.full((len(found.pool), 1), first))
    cheapest = float(np.where(found.at >= first * (1 - 1e-9), found.cost, beginnings).min())
    said = (
        f"no configuration of the pool reaches its first point within compute {levels[-1]:.4g}; the cheapest "
        f"needs {cheapest:.4g}"
    )
    if reached:
        free = (
            f", or leave {horizon!r} out of it: each compute then has its own"
            if horizon in found.pool
            else ""
        )
        said = (
            f"the pool reaches {reached} of the {len(levels)} levels of compute, and a law needs at least "
            f"{FEWEST_LEVELS}; its cheapest run costs {cheapest:.4g}. Ask for levels from there on, or add "
            f"cheaper runs to the pool{free}"
        )
    raise ConfigError(said, cheapest=cheapest, reached=reached)
