"""Posteriors of one log under several mean functions, and their shares.

A law describes how curves end; of their first steps it knows nothing. A plane knows nothing in particular and
leaves curves to the kernel. Over a small grid both are fitted, and the law takes over along the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from torch import Tensor

from probscale.model.exact import ExactState
from probscale.model.means import LawMean, PlaneMean, Rows
from probscale.model.posterior import Tail
from probscale.model.tails import fit_tail
from probscale.runs.thinning import evenly

Array = NDArray[np.float64]
Groups = Sequence[NDArray[np.intp]]

LEAST = 0.02
"""Share below which a mean function is dropped."""

TEMPER = 3.0
"""Left-out points of one size share their error: log densities are divided by this before weighing models."""

TAKEOVER_STD = 1.0
"""Prior standard deviation of the logarithm of the axis value at which a law takes over, around its onset."""

MOST_CORNERS = 24
"""Corners of a grid that are left out in turn."""


@dataclass(frozen=True)
class Mixture:
    """Posteriors of one log and their shares.

    Attributes:
        states: Posteriors; a law, then a plane, where the law takes over along the axis.
        weights: Their shares, (states,); with a takeover those in the middle of the axis.
        takeover: Logarithm of the axis value at which two posteriors have equal shares; beyond it the first
            gains. None: shares are the same everywhere.
    """

    states: tuple[ExactState, ...]
    weights: Array
    takeover: float | None = None

    @property
    def leading(self) -> int:
        """Position of the posterior with the largest share."""
        return int(np.argmax(self.weights))

    def shares(self, rows: Rows) -> Array:
        """Shares at rows, (states, rows)."""
        return shares_at(self.weights, self.takeover, rows.progress.numpy())

    @torch.no_grad()
    def moments(self, rows: Rows) -> tuple[Array, Array, Array]:
        """Latent mean and variance and noise variance at rows, modelled scale, (rows,) each."""
        parts = [state.marginals(rows) for state in self.states]
        return self._merged(rows, parts)

    def left_out(self, groups: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Residual, latent variance and noise variance of each point given all other groups, (points,) each.

        Args:
            groups: Group of each point, (points,).

        Cost: O(points³) a posterior, one inverse each.
        """
        parts = [state.leave_groups_out(groups) for state in self.states]
        return self._merged(self.states[0].data.rows, parts)

    @torch.no_grad()
    def _merged(self, rows: Rows, parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Array, Array, Array]:
        """Mean, variance and noise variance at rows from means and variances of each posterior."""
        means, variances = (np.stack([part[i].numpy() for part in parts]) for i in range(2))
        noises = np.stack([state.process.noise(rows).numpy() for state in self.states])
        shares = self.shares(rows)
        mean = (shares * means).sum(axis=0)
        variance = (shares * (variances + (means - mean) ** 2)).sum(axis=0)
        return mean, variance, (shares * noises).sum(axis=0)

    def kept(self, least: float = 0.01) -> Mixture:
        """The mixture without members of less than a share."""
        if self.takeover is not None:
            return self
        keep = self.weights > least
        states = tuple(state for state, kept in zip(self.states, keep, strict=True) if kept)
        return Mixture(states, self.weights[keep] / self.weights[keep].sum())


def alone(state: ExactState) -> Mixture:
    """A mixture of one."""
    return Mixture((state,), np.ones(1))


def shares_at(weights: Array, takeover: float | None, progress: Array) -> Array:
    """Shares of posteriors at logarithms of the axis, (states, *progress).

    With a takeover at D₁ the first has the share D/(D + D₁).
    """
    if takeover is None:
        return np.broadcast_to(weights.reshape(-1, *(1,) * progress.ndim), (len(weights), *progress.shape))
    first = expit(progress - takeover)
    return np.stack([first, 1 - first])


def averaged(states: tuple[ExactState, ...], cells: NDArray[np.intp]) -> Mixture:
    """Fitted mean functions with the shares that left-out parts of the log give them.

    Args:
        states: Posteriors of the same points.
        cells: Cell of each point, (points,).
    """
    laws = [state for state in states if _onset(state) is not None]
    planes = [state for state in states if isinstance(state.process.mean, PlaneMean)]
    if len(laws) == 1 and len(planes) == 1 and len(states) == 2:
        return _taken_over((laws[0], planes[0]), cells)
    return Mixture(states, mixture_weights(states, cells))


def _taken_over(states: tuple[ExactState, ...], cells: NDArray[np.intp]) -> Mixture:
    """A law that takes over from a plane, where corners of the grid, left out, say so."""
    law, plane = states
    onset = _onset(law)
    assert onset is not None
    rows = law.data.rows
    groups = corners(law) or [np.flatnonzero(cells == cell) for cell in np.unique(cells)]
    where = np.concatenate(groups)
    progress = rows.progress.numpy()[where]
    # A corner counts as one cell, whatever its size: its points share their errors.
    say = np.concatenate([np.full(len(g), 1 / (TEMPER * len(np.unique(cells[g])))) for g in groups])
    density = np.stack([np.concatenate([state.density_without(g) for g in groups]) for state in (law, plane)])

    def loss(shift: float) -> float:
        first = np.log(expit(progress - onset - shift))
        second = np.log(expit(onset + shift - progress))
        mixed = np.logaddexp(first + density[0], second + density[1])
        return -float(say @ mixed) + 0.5 * (shift / TAKEOVER_STD) ** 2

    found: Any = minimize_scalar(loss, bounds=(-5.0, 8.0), method="bounded")
    takeover = onset + float(found.x)
    weights = shares_at(np.ones(2), takeover, np.median(rows.progress.numpy(), keepdims=True))[:, 0]
    every = shares_at(weights, takeover, rows.progress.numpy())
    for number, state in enumerate(states):
        if every[1 - number].max() < LEAST:
            return alone(state)
    return Mixture(states, weights, takeover)


def _onset(state: ExactState) -> float | None:
    """Logarithm of the axis value at which a law of curves sets in; None without one."""
    mean = state.process.mean
    if not isinstance(mean, LawMean) or mean.scale.onset is None:
        return None
    return mean.scale.onset + float(mean.get_parameter("onset").detach())


def corners(state: ExactState) -> list[NDArray[np.intp]]:
    """Points of the upper corners of a grid that can be left out, values of their levels known elsewhere.

    What is asked of a grid is mostly beyond what was paid for: wider and deeper at once.
    """
    columns = list(state.process.layout.grid)
    if len(columns) < 2:
        return []
    places = state.data.rows.x[:, columns].numpy()
    cells, position = np.unique(np.asarray(places.round(9), dtype=np.float64), axis=0, return_inverse=True)
    found: dict[bytes, NDArray[np.intp]] = {}
    for cell in cells:
        held = (cells >= cell).all(axis=1)
        if 2 * held.sum() <= (~held).sum() and _known_elsewhere(cells, held):
            found[held.tobytes()] = np.flatnonzero(held[position.ravel()])
    groups = list(found.values())
    return [groups[i] for i in evenly(len(groups), MOST_CORNERS)]


def _known_elsewhere(cells: Array, held: NDArray[np.bool_]) -> bool:
    return all(np.isin(cells[held, j], cells[~held, j]).all() for j in range(cells.shape[1]))


def mixture_weights(states: tuple[ExactState, ...], cells: NDArray[np.intp]) -> Array:
    """Shares of candidate models: how probable each finds the largest sizes, given the smaller ones.

    In-distribution scores hardly tell mean functions apart; what matters is how they extrapolate. Where sizes
    do not vary, left-out cells decide.
    """
    if len(states) == 1:
        return np.ones(1)
    size = states[0].data.rows.size.numpy()
    distinct = np.unique(np.round(size, 6))
    if len(distinct) >= 3:
        largest = np.round(size, 6) >= distinct[-max(1, min(2, len(distinct) - 2))]
        scores = [state.log_density_of(np.flatnonzero(largest)) for state in states]
    else:
        scores = [
            sum(state.log_density_of(np.flatnonzero(cells == cell)) for cell in np.unique(cells))
            for state in states
        ]
    shares = np.exp((np.array(scores) - max(scores)) / TEMPER)
    return shares / shares.sum()


def left_out_groups(state: ExactState, cells: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cell of each point, and its value of each level that has several, (points,) each."""
    x = state.data.rows.x
    levels = [block for block in state.process.layout.labels if block.level]
    values = [np.unique(x[:, block.code].numpy(), return_inverse=True)[1] for block in levels]
    return [cells, *(each.astype(np.intp) for each in values if each.any())]


def mixture_tail(mixture: Mixture, cells: NDArray[np.intp], judges: NDArray[np.intp] | None = None) -> Tail:
    """Spread of predictions for cells that were not observed, from leave-cell-out residuals.

    For curves, each level's values are left out in turn as well: zero-shot cells lie at the edge of what is
    known. There, left-out curves lie among their neighbours, asked ones often do not: the spread is never
    narrower than the model's own.

    Args:
        mixture: States of the same points.
        cells: Cell of each point.
        judges: Positions of the finals whose residuals count; by default all.
    """
    first = mixture.states[0]
    layout = first.process.layout
    groups = left_out_groups(first, cells) if layout.axis else [cells]
    parts = [mixture.left_out(each) for each in groups]
    residual, variance, noises = (np.concatenate([part[i] for part in parts]) for i in range(3))
    if judges is not None:
        residual, variance, noises = (part[judges] for part in (residual, variance, noises))
        cells = cells[judges]
    parameters = 0 if layout.axis else sum(p.numel() for p in first.process.parameters())
    tail = fit_tail(residual, variance, noises, groups=len(np.unique(cells)), parameters=parameters)
    return replace(tail, scale=max(float(np.mean(tail.scale)), 1.0)) if layout.axis else tail
