"""Rows that are asked for together: what a posterior says of them, each part computed once, when needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probscale.model.exact import CHUNK, ExactState, Look
from probscale.model.means import Rows
from probscale.model.posterior import Component

Array = NDArray[np.float64]

MOST_KEPT = 2_000_000
"""Numbers (16 MB) up to which what links rows with the observations is kept for their covariance."""


@dataclass(frozen=True, eq=False)
class View:
    """Rows as a posterior sees them.

    Marginals, joint covariance and draws begin with the same solve; of few rows its result is kept.

    Attributes:
        state: The posterior.
        rows: What is asked for.
    """

    state: ExactState
    rows: Rows

    @cached_property
    def _look(self) -> Look | None:
        """What is said of the rows; None where it would not be kept."""
        small = len(self.rows) <= CHUNK and len(self.rows) * len(self.state.data) <= MOST_KEPT
        return self.state.look(self.rows) if small else None

    def marginals(self) -> tuple[Tensor, Tensor]:
        """Latent mean and variance of each row; see `ExactState.marginals`."""
        look = self._look
        if look is None:
            return self.state.marginals(self.rows)
        return look.mean.cpu(), look.variance.cpu()

    @cached_property
    def covariance(self) -> Tensor:
        """Joint latent covariance, (rows, rows)."""
        look = self._look
        if look is None:
            return self.state.covariance(self.rows, self.rows)
        return self.state.joint(self.rows, look)

    def draw(self, generator: np.random.Generator, n: int) -> Array:
        """Joint latent deviations from the posterior mean, (n, rows); see `ExactState.draw`."""
        return self.state.draw(self.rows, generator, n, lambda: self.covariance)


def component_of(state: ExactState, rows: Rows, weight: float | Array, shape: tuple[int, int]) -> Component:
    """Rows of curves, (configs × points), as a component of a mixture, arrays of `shape`."""
    view = View(state, rows)
    location, variance = view.marginals()
    with torch.no_grad():
        noise = state.process.noise(rows)

    def draw(generator: np.random.Generator, n: int) -> Array:
        return view.draw(generator, n).reshape(n, *shape)

    def covariance() -> Array:
        return view.covariance.numpy()

    return Component(
        weight,
        location.numpy().reshape(shape),
        variance.numpy().reshape(shape),
        noise.numpy().reshape(shape),
        draw,
        covariance,
    )
