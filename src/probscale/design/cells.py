"""Joint Gaussian view of curves on a grid of cells, in which variance reductions are exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from probscale.surrogate import CurvePosterior, CurveSurrogate

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

JITTER = 1e-10
"""Jitter of covariances of measurements, relative to their mean diagonal."""

STEP = 1e-4
"""Step of the central difference that gives slopes of a transform, modelled scale."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Latent curves of configurations at axis values, on the modelled scale.

    The variance of a Gaussian process does not depend on what a measurement turns out to be, so the effect
    of a planned run on every cell is known before it is paid for.

    Attributes:
        at: Axis values, (configs, points).
        location: Posterior mean, (configs, points).
        covariance: Posterior covariance of all cells, calibrated spread included, (cells, cells).
        noise: Noise variance of a measurement, (configs, points).
        slope: Derivative of the output with respect to the modelled value, (configs, points).
        output: Posterior mean in user units, (configs, points).
    """

    at: Array
    location: Array
    covariance: Array
    noise: Array
    slope: Array
    output: Array

    @property
    def shape(self) -> tuple[int, int]:
        """(configs, points)."""
        configs, points = self.location.shape
        return configs, points

    @property
    def variance(self) -> Array:
        """Posterior variance of each cell, (configs, points)."""
        return self.covariance.diagonal().reshape(self.shape)

    @cached_property
    def elasticity(self) -> Array:
        """Derivative of the logarithm of the output where all outputs are positive, else of the output."""
        return self.slope / self.output if bool((self.output > 0).all()) else self.slope

    def whitened(self, cells: Positions) -> Array:
        """Effect of measuring cells in turn, (measured, all cells).

        The squares of the first k rows sum to the drop in variance that the first k measurements bring.

        Cost: O(measured² × cells).
        """
        block = self.covariance[np.ix_(cells, cells)] + np.diag(self.noise.ravel()[cells])
        block = block + JITTER * block.diagonal().mean() * np.eye(len(cells))
        factor = np.linalg.cholesky(block)
        return solve_triangular(factor, self.covariance[cells], lower=True)

    def measured(self, cells: Positions) -> Cells:
        """The cells once measurements of some of them are in; the mean is what it was expected to be."""
        effect = self.whitened(cells)
        return replace(self, covariance=self.covariance - effect.T @ effect)

    def implied(self, cells: Positions, values: Array) -> Array:
        """Posterior mean of all cells if measurements turned out to be `values`, (configs, points)."""
        block = self.covariance[np.ix_(cells, cells)] + np.diag(self.noise.ravel()[cells])
        gain = cho_solve(cho_factor(block, lower=True), values - self.location.ravel()[cells])
        return self.location + (self.covariance[:, cells] @ gain).reshape(self.shape)


def joint_cells(surrogate: CurveSurrogate, configs: pd.DataFrame, at: Array) -> tuple[Cells, CurvePosterior]:
    """Joint Gaussian of configurations at axis values, and the posterior it belongs to.

    Args:
        surrogate: Fitted surrogate.
        configs: Configurations; a run column that names runs of the log asks for their continuation.
        at: Axis values, (points,) or (configs, points).

    Cost: O(observations² × cells + observations × cells²) time, O(cells²) memory.
    """
    curves = surrogate.predict(configs, at)
    location, noise, slope, output = (np.empty(curves.shape) for _ in range(4))
    covariance = np.zeros((curves.at.size, curves.at.size))
    points = curves.shape[1]
    for where, block in curves.blocks:
        centre, joint, noise[where] = block.joint()
        cells = (where[:, None] * points + np.arange(points)).ravel()
        covariance[np.ix_(cells, cells)] = joint
        above, below = (block.transform.inverse(centre + step) for step in (STEP, -STEP))
        location[where], slope[where] = centre, (above - below) / (2 * STEP)
        output[where] = block.transform.inverse(centre)
    return Cells(curves.at, location, covariance, noise, slope, output), curves
