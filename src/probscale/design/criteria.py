"""What an action is worth: criteria by name, from the exact effect of measurements on the joint posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from probscale.design.actions import Actions
from probscale.design.cells import Cells
from probscale.envelope import Crossings, best_of
from probscale.errors import ConfigError
from probscale.spelling import close_names, did_you_mean

Array = NDArray[np.float64]
Value = Callable[["Situation"], Array]

SURVEYED = 6
"""Runs from which on what a surrogate says of its frontier is more than its priors."""


@dataclass(frozen=True, eq=False)
class Situation:
    """What is believed, and what may be done next.

    Attributes:
        cells: Joint posterior of the grid.
        actions: Legal actions on it.
        draws: Joint posterior draws of the latent curves, user units, (draws, configs, points).
        crossings: Where curves meet the levels of compute at which the frontier matters.
        levels: These levels, (levels,).
        goal: "min" or "max".
        incumbent: Best output observed so far; NaN if none.
        targets: Cells whose variance matters to the "target" criterion, (configs, points).
        span: Compute over which a fitted law is to be trusted; the levels' own range by default.
        runs: Runs behind the belief.
        notes: What the user should know of the belief.
    """

    cells: Cells
    actions: Actions
    draws: Array
    crossings: Crossings
    levels: Array
    goal: str
    incumbent: float
    targets: NDArray[np.bool_]
    span: tuple[float, float] | None = None
    runs: int = SURVEYED
    notes: tuple[str, ...] = ()

    @cached_property
    def frontier_weights(self) -> Array:
        """Probability of each configuration to be the best at each level, (configs, levels).

        Cost: O(draws × configs × levels).
        """
        values = self.crossings.at(self.draws)
        best, position = best_of(values, self.goal)
        configs, levels = values.shape[1:]
        codes = position + configs * np.arange(levels)
        counts = np.bincount(codes[np.isfinite(best)], minlength=configs * levels)
        return counts.reshape(levels, configs).T / len(values)

    @cached_property
    def effects(self) -> list[tuple[int, NDArray[np.intp], Array]]:
        """Per configuration with legal actions: its position, the points it would measure, and their effect.

        Effects are those of `Cells.whitened`: row i belongs to the i-th point.
        """
        grid = self.actions
        last = grid.at.shape[1] - 1
        out = []
        for config in np.unique(np.nonzero(grid.legal)[0]):
            cells = grid.block(int(config), last)
            out.append((int(config), cells - config * (last + 1), self.cells.whitened(cells)))
        return out

    def reductions(self, functionals: Array) -> Array:
        """Drop in summed variance of linear functionals of the cells that each action brings, (actions,).

        Args:
            functionals: Shape (functionals, cells).

        Cost: O(actions × points × cells).
        """
        return self._gathered(lambda effect: np.square(effect @ functionals.T).sum(axis=1))

    def weighted_reductions(self, weights: Array) -> Array:
        """Drop in weighted variance over all cells that each action brings, (actions,).

        Args:
            weights: Weight of each cell, (configs, points).
        """
        return self._gathered(lambda effect: np.square(effect) @ weights.ravel())

    def _gathered(self, gain: Callable[[Array], Array]) -> Array:
        """Gains of single measurements, summed along each run up to where an action stops."""
        total = np.zeros(self.actions.at.shape)
        for config, points, effect in self.effects:
            total[config, points] = np.cumsum(gain(effect))
        return total[self.actions.legal]

    def after(self, config: int, point: int) -> Situation:
        """The situation once an action is decided, its outcome unknown: beliefs narrowed, means kept."""
        measured = self.actions.block(config, point)
        return replace(self, cells=self.cells.measured(measured), actions=self.actions.taken(config, point))


def variance(situation: Situation) -> Array:
    """Variance of the cells an action measures: where the model knows least."""
    grid = np.where(situation.actions.pending, situation.cells.variance, 0.0)
    return np.cumsum(grid, axis=1)[situation.actions.legal]


def integrated_variance(situation: Situation) -> Array:
    """Drop in mean variance of all curves.

    Source: Seo et al. 2000, eq. 7 (active learning Cohn).
    """
    count = situation.cells.variance.size
    return situation.weighted_reductions(np.full(situation.cells.shape, 1 / count))


def frontier_variance(situation: Situation) -> Array:
    """Drop in variance of the curves, each cell weighted by its probability of lying on the frontier."""
    weights = situation.crossings.spread(situation.frontier_weights) / len(situation.levels)
    return situation.weighted_reductions(weights * np.square(situation.cells.elasticity))


def law_variance(situation: Situation) -> Array:
    """Drop in mean variance of the log-linear law fitted to the frontier, over `span`.

    The best loss at a level is, to first order, the average of the curves by their probability of being best
    there; the law is linear in that.
    """
    chance, levels = situation.frontier_weights, np.log(situation.levels)
    configs, points = situation.cells.shape
    rows = np.stack(
        [
            situation.crossings.spread(chance * (np.arange(len(levels)) == level)).ravel()
            for level in range(len(levels))
        ]
    )
    rows = rows * situation.cells.elasticity.reshape(1, configs * points)
    centred = levels - levels.mean()
    level_of = rows.mean(axis=0)
    slope_of = centred @ rows / (centred @ centred)
    low, high = np.log(situation.span) if situation.span else (levels[0], levels[-1])
    # Variance of the line averaged over the span, as two functionals: at its middle, and along it.
    middle = level_of + (0.5 * (low + high) - levels.mean()) * slope_of
    return situation.reductions(np.stack([middle, (high - low) / np.sqrt(12) * slope_of]))


def expected_improvement(situation: Situation) -> Array:
    """Expected improvement on the best output so far where the action stops.

    Source: Mockus 1978; Jones et al. 1998, eq. 15, on the output linearised at the posterior mean.
    """
    sign = 1.0 if situation.goal == "min" else -1.0
    mean = situation.cells.output
    std = np.sqrt(np.maximum(situation.cells.variance, 0.0)) * np.abs(situation.cells.slope)
    best = situation.incumbent if np.isfinite(situation.incumbent) else float(np.median(mean))
    gap = sign * (best - mean)
    z = gap / np.maximum(std, 1e-300)
    density = np.exp(-0.5 * np.square(np.clip(z, -37, 37))) / np.sqrt(2 * np.pi)
    return (gap * ndtr(z) + std * density)[situation.actions.legal]


def target_variance(situation: Situation) -> Array:
    """Drop in variance at the target cells, for example the final loss of one large configuration."""
    weights = situation.targets / max(situation.targets.sum(), 1)
    return situation.weighted_reductions(weights * np.square(situation.cells.elasticity))


def after_survey(value: Value, runs: int = SURVEYED) -> Value:
    """Criterion that surveys the whole pool first: `integrated_variance` until so many runs are known.

    Of few runs a surrogate knows little but its priors. Which curves it then believes to be on the frontier,
    and how uncertain, is no guide; what narrows all curves also teaches its parameters.

    Args:
        value: Criterion once the pool is surveyed.
        runs: Known runs from which on it counts; actions of a batch do not count before they are carried out.

    >>> law_later = after_survey(law_variance, runs=10)
    """

    def staged(situation: Situation) -> Array:
        return (integrated_variance if situation.runs < runs else value)(situation)

    return staged


CRITERIA: dict[str, Value] = {
    "variance": variance,
    "integrated variance": integrated_variance,
    "frontier": frontier_variance,
    "law": law_variance,
    "survey, then law": after_survey(law_variance),
    "improvement": expected_improvement,
    "target": target_variance,
}


def find_criterion(criterion: str | Value, *, aimed: bool = True) -> Value:
    """Criterion by name, or a function of a situation itself.

    Args:
        criterion: Name or function.
        aimed: Whether there are target configurations.

    Raises:
        ConfigError: for an unknown name, with close matches, or "target" without targets.
    """
    if criterion == "target" and not aimed:
        raise ConfigError('the criterion "target" needs targets=, the configurations whose end matters')
    if isinstance(criterion, type) or hasattr(criterion, "model"):
        raise ConfigError(
            f"criterion is {criterion!r}; pass an acquisition function of BoTorch as "
            "probscale.design.acquisition(lambda model, situation: LogExpectedImprovement(model, "
            "best_f=model.goal_sign * situation.incumbent), logarithm=True)",
            criterion=criterion,
        )
    if not isinstance(criterion, str) and callable(criterion):
        return criterion
    name = criterion if isinstance(criterion, str) else repr(criterion)
    if name in CRITERIA:
        return CRITERIA[name]
    hint = did_you_mean(
        close_names(name, CRITERIA, most=2, likeness=0.4), f"known are {', '.join(map(repr, CRITERIA))}"
    )
    raise ConfigError(
        f"there is no criterion {criterion!r}; {hint}; a function "
        "of a Situation is accepted too, see probscale.design.acquisition for those of BoTorch",
        criterion=name,
    )
